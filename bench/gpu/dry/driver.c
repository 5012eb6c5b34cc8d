/* libcuda.so.1: the driver's functions that torch, Triton and vLLM call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int nothing(void) { return 0; }
static int attribute(int a) {
  int (*f)(int) = dlsym(RTLD_DEFAULT, "stand_in_attribute");
  return f ? f(a) : 1;
}
int cuInit(unsigned f) { return 0; }
int cuDriverGetVersion(int *v) {
  *v = 13000;
  return 0;
}
int cuDeviceGet(int *d, int n) {
  *d = n;
  return 0;
}
int cuDeviceGetCount(int *n) {
  *n = 1;
  return 0;
}
int cuDeviceGetAttribute(int *v, int a, int d) {
  *v = attribute(a);
  return 0;
}
int cuDevicePrimaryCtxRetain(void **c, int d) {
  *c = (void *)16;
  return 0;
}
int cuDevicePrimaryCtxGetState(int d, unsigned *f, int *a) {
  *f = 0;
  *a = 1;
  return 0;
}
int cuCtxGetCurrent(void **c) {
  *c = (void *)16;
  return 0;
}
int cuCtxSetCurrent(void *c) { return 0; }
int cuCtxGetDevice(int *d) {
  *d = 0;
  return 0;
}
int cuCtxSetLimit(int l, size_t v) { return 0; }
int cuCtxGetLimit(size_t *v, int l) {
  *v = 0;
  return 0;
}
int cuModuleLoadData(void **m, const void *i) {
  *m = malloc(8);
  return 0;
}
int cuModuleLoadDataEx(void **m, const void *i, unsigned n, void *o, void *v) { return cuModuleLoadData(m, i); }
int cuModuleUnload(void *m) { return 0; }
int cuModuleGetFunction(void **f, void *m, const char *n) {
  *f = malloc(8);
  return 0;
}
int cuModuleGetGlobal_v2(void **p, size_t *n, void *m, const char *s) {
  *p = calloc(1, 64);
  if (n) *n = 64;
  return 0;
}
int cuFuncGetAttribute(int *v, int a, void *f) {
  *v = a == 0 ? 1024 : (a == 4 ? 32 : 0);
  return 0;
}
int cuFuncSetAttribute(void *f, int a, int v) { return 0; }
int cuFuncSetCacheConfig(void *f, int c) { return 0; }
int cuLaunchKernelEx(const void *c, void *f, void **p, void **e) { return 0; }
int cuLaunchKernel(void) { return 0; }
int cuOccupancyMaxActiveClusters(int *n, void *f, const void *c) {
  *n = 66;
  return 0;
}
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *f, int b, size_t s) {
  *n = 2;
  return 0;
}
int cuGetErrorString(int e, const char **s) {
  *s = "stand-in driver error";
  return 0;
}
int cuGetErrorName(int e, const char **s) {
  *s = "standIn";
  return 0;
}
int cuTensorMapEncodeTiled(void) { return 0; }
int cuPointerGetAttribute(void *v, int a, unsigned long long p) {
  int (*f)(const void *) = dlsym(RTLD_DEFAULT, "stand_in_type_of");
  if (a == 2)
    *(int *)v = f && f((void *)p) == 2 ? 2 : 1;
  else if (a == 9)
    *(int *)v = 0;
  else
    *(unsigned long long *)v = p;
  return 0;
}
int cuPointerGetAttributes(unsigned n, int *a, void **d, unsigned long long p) {
  for (unsigned i = 0; i < n; i++) cuPointerGetAttribute(d[i], a[i], p);
  return 0;
}
int cuMemGetAllocationGranularity(size_t *g, void *p, int o) {
  *g = 2 << 20;
  return 0;
}
int cuMemAddressReserve(void **p, size_t n, size_t a, void *b, unsigned long long f) { return 2; }
int cuMemAddressFree(void) { return 0; }
int cuMemCreate(void) { return 2; }
int cuMemMap(void) { return 0; }
int cuMemUnmap(void) { return 0; }
int cuMemRelease(void) { return 0; }
int cuMemSetAccess(void) { return 0; }
int cuGetProcAddress_v2(const char *n, void **f, int v, unsigned long long fl, int *st) {
  char b[256];
  void *self = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  *f = self ? dlsym(self, n) : 0;
  if (!*f) {
    snprintf(b, 256, "%s_v2", n);
    *f = self ? dlsym(self, b) : 0;
  }
  if (!*f) *f = (void *)nothing;
  if (st) *st = 0;
  return 0;
}
int cuModuleLoad(void **m, const char *f) { return cuModuleLoadData(m, f); }
int cuLaunchCooperativeKernel(void) { return 0; }
int cuStreamGetCtx(void *s, void **c) {
  *c = (void *)16;
  return 0;
}
int cuCtxSynchronize(void) { return 0; }
int cuStreamWriteValue32(void) { return 0; }
int cuMemcpyDtoHAsync_v2(void) { return 0; }
