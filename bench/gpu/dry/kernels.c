/* Kernels are registered and launched, and compute nothing. */
#include "stand_in.h"

cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *a, const void *f) {
  memset(a, 0, sizeof *a);
  a->maxThreadsPerBlock = 1024;
  a->numRegs = 32;
  a->binaryVersion = 90;
  a->ptxVersion = 90;
  return 0;
}
cudaError_t cudaFuncSetAttribute(const void *f, enum cudaFuncAttribute a, int v) { return 0; }
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *f, int b, size_t s) {
  *n = 2;
  return 0;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f, int b, size_t s,
                                                                   unsigned fl) {
  *n = 2;
  return 0;
}
static char symbol_buffer[1 << 16];
cudaError_t cudaGetSymbolAddress(void **p, const void *s) {
  *p = symbol_buffer;
  return 0;
}
cudaError_t cudaLaunchKernel(const void *f, dim3 g, dim3 b, void **a, size_t s, cudaStream_t st) { return 0; }
cudaError_t cudaLaunchCooperativeKernel(const void *f, dim3 g, dim3 b, void **a, size_t s, cudaStream_t st) {
  return 0;
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *f, void **a) { return 0; }
cudaError_t __cudaLaunchKernel(void *k, dim3 g, dim3 b, void **a, size_t s, cudaStream_t st) { return 0; }
cudaError_t __cudaGetKernel(void **k, const void *f) {
  *k = (void *)f;
  return 0;
}
static __thread struct {
  dim3 g, b;
  size_t s;
  void *st;
} config;
unsigned __cudaPushCallConfiguration(dim3 g, dim3 b, size_t s, void *st) {
  config.g = g;
  config.b = b;
  config.s = s;
  config.st = st;
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3 *g, dim3 *b, size_t *s, void *st) {
  *g = config.g;
  *b = config.b;
  *s = config.s;
  *(void **)st = config.st;
  return 0;
}
void **__cudaRegisterFatBinary(void *f) {
  static void *h[8];
  return h;
}
void __cudaRegisterFatBinaryEnd(void **h) {}
void __cudaUnregisterFatBinary(void **h) {}
void __cudaRegisterFunction(void **h, const char *f, char *d, const char *n, int t, void *a, void *b, void *c, void *e,
                            int *w) {}
void __cudaRegisterVar(void **h, char *v, char *a, const char *n, int e, size_t s, int c, int g) {}
char __cudaInitModule(void **h) { return 1; }
