/* One H100: what a program asks of the card, of errors and of other processes' memory. */
#include "stand_in.h"

cudaError_t cudaGetDeviceCount(int *n) {
  *n = 1;
  return 0;
}
cudaError_t cudaGetDevice(int *d) {
  *d = 0;
  return 0;
}
cudaError_t cudaSetDevice(int d) { return 0; }
cudaError_t cudaDeviceSynchronize(void) { return 0; }
cudaError_t cudaDriverGetVersion(int *v) {
  *v = 13000;
  return 0;
}
cudaError_t cudaRuntimeGetVersion(int *v) {
  *v = 13000;
  return 0;
}
int stand_in_attribute(int a) {
  switch (a) {
  case 1: return 1024;
  case 2:
  case 3: return 1024;
  case 4: return 64;
  case 5: return 2147483647;
  case 6:
  case 7: return 65535;
  case 8: return 49152;
  case 9: return 65536;
  case 10: return 32;
  case 12: return 65536;
  case 13: return 1980000;
  case 16: return 132;
  case 36: return 2619000;
  case 37: return 5120;
  case 38: return 52428800;
  case 39: return 2048;
  case 75: return 9;
  case 76: return 0;
  case 81: return 233472;
  case 82: return 65536;
  case 95: return 1;
  case 97: return 232448;
  case 106: return 32;
  default: return 1;
  }
}
cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int d) {
  *v = stand_in_attribute(a);
  return 0;
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int d) {
  memset(p, 0, sizeof *p);
  strcpy(p->name, "NVIDIA H100 80GB HBM3");
  p->totalGlobalMem = TOTAL;
  p->sharedMemPerBlock = 49152;
  p->regsPerBlock = 65536;
  p->warpSize = 32;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->totalConstMem = 65536;
  p->major = 9;
  p->minor = 0;
  p->textureAlignment = 512;
  p->multiProcessorCount = 132;
  p->l2CacheSize = 52428800;
  p->maxThreadsPerMultiProcessor = 2048;
  p->sharedMemPerMultiprocessor = 233472;
  p->regsPerMultiprocessor = 65536;
  p->sharedMemPerBlockOptin = 232448;
  p->memoryBusWidth = 5120;
  p->unifiedAddressing = 1;
  p->concurrentKernels = 1;
  p->asyncEngineCount = 3;
  p->maxBlocksPerMultiProcessor = 32;
  p->cooperativeLaunch = 1;
  return 0;
}
cudaError_t cudaDeviceGetPCIBusId(char *s, int n, int d) {
  snprintf(s, n, "0000:00:05.0");
  return 0;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *a, int *b) {
  *a = 0;
  *b = -5;
  return 0;
}
cudaError_t cudaDeviceCanAccessPeer(int *c, int a, int b) {
  *c = 0;
  return 0;
}
cudaError_t cudaDeviceEnablePeerAccess(int a, unsigned f) { return 0; }
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *m, int d) {
  *m = (void *)64;
  return 0;
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t m, enum cudaMemPoolAttr a, void *v) {
  *(size_t *)v = 0;
  return 0;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t m, enum cudaMemPoolAttr a, void *v) { return 0; }
cudaError_t cudaMemPoolSetAccess(cudaMemPool_t m, const struct cudaMemAccessDesc *d, size_t n) { return 0; }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t m, size_t n) { return 0; }
cudaError_t cudaGetLastError(void) { return 0; }
cudaError_t cudaPeekAtLastError(void) { return 0; }
const char *cudaGetErrorName(cudaError_t e) { return "standInError"; }
const char *cudaGetErrorString(cudaError_t e) {
  static char b[64];
  snprintf(b, 64, "stand-in error %d", e);
  return b;
}
cudaError_t cudaProfilerStart(void) { return 0; }
cudaError_t cudaProfilerStop(void) { return 0; }
cudaError_t cudaIpcCloseMemHandle(void *p) { return 0; }
cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t *h, void *p) { return 0; }
cudaError_t cudaIpcOpenMemHandle(void **p, cudaIpcMemHandle_t h, unsigned f) { return 1; }
cudaError_t cudaIpcGetEventHandle(cudaIpcEventHandle_t *h, cudaEvent_t e) { return 0; }
cudaError_t cudaIpcOpenEventHandle(cudaEvent_t *e, cudaIpcEventHandle_t h) { return 1; }
cudaError_t cudaGetDriverEntryPointByVersion(const char *n, void **f, unsigned v, unsigned long long fl,
                                             enum cudaDriverEntryPointQueryResult *q) {
  *f = stand_in_driver_symbol(n);
  if (q) *q = 0;
  return 0;
}
static int nothing(void) { return 0; }
void *stand_in_driver_symbol(const char *name) {
  char newer[256];
  void *driver = dlopen("libcuda.so.1", RTLD_NOW);
  void *found = driver ? dlsym(driver, name) : 0;
  if (!found && driver) {
    snprintf(newer, sizeof newer, "%s_v2", name);
    found = dlsym(driver, newer);
  }
  return found ? found : (void *)nothing;
}
