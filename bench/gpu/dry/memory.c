/* Device memory is host memory, and copies copy. Very large copies and fills are left out: nobody reads garbage. */
#include "stand_in.h"

typedef struct {
  char *p;
  size_t n;
  int type;
} Range;
static Range ranges[1 << 16];
static int num_ranges;
static size_t used;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void add(void *p, size_t n, int type) {
  pthread_mutex_lock(&lock);
  int i;
  for (i = 0; i < num_ranges && ranges[i].p; i++);
  if (i == num_ranges) num_ranges++;
  ranges[i] = (Range){p, n, type};
  if (type == 2) used += n;
  pthread_mutex_unlock(&lock);
}
static size_t del(void *p) {
  size_t n = 0;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < num_ranges; i++)
    if (ranges[i].p == p) {
      n = ranges[i].n;
      if (ranges[i].type == 2) used -= n;
      ranges[i].p = 0;
      break;
    }
  pthread_mutex_unlock(&lock);
  return n;
}
int stand_in_type_of(const void *q) {
  int t = 0;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < num_ranges; i++)
    if (ranges[i].p && (char *)q >= ranges[i].p && (char *)q < ranges[i].p + ranges[i].n) {
      t = ranges[i].type;
      break;
    }
  pthread_mutex_unlock(&lock);
  return t;
}
cudaError_t cudaMalloc(void **p, size_t n) {
  if (!n) {
    *p = 0;
    return 0;
  }
  if (used + n > TOTAL) return cudaErrorMemoryAllocation;
  *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (*p == MAP_FAILED) return cudaErrorMemoryAllocation;
  add(*p, n, 2);
  return 0;
}
cudaError_t cudaMallocAsync(void **p, size_t n, cudaStream_t s) { return cudaMalloc(p, n); }
cudaError_t cudaFree(void *p) {
  if (p) {
    size_t n = del(p);
    if (n) munmap(p, n);
  }
  return 0;
}
cudaError_t cudaFreeAsync(void *p, cudaStream_t s) { return cudaFree(p); }
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned f) {
  if (posix_memalign(p, 4096, n ? n : 1)) return 2;
  memset(*p, 0, n);
  add(*p, n, 1);
  return 0;
}
cudaError_t cudaFreeHost(void *p) {
  if (p) {
    del(p);
    free(p);
  }
  return 0;
}
cudaError_t cudaHostRegister(void *p, size_t n, unsigned f) {
  add(p, n, 1);
  return 0;
}
cudaError_t cudaHostUnregister(void *p) {
  del(p);
  return 0;
}
cudaError_t cudaHostGetDevicePointer(void **d, void *h, unsigned f) {
  *d = h;
  return 0;
}
cudaError_t cudaMemcpy(void *d, const void *s, size_t n, enum cudaMemcpyKind k) {
  memmove(d, s, n);
  return 0;
}
cudaError_t cudaMemcpyAsync(void *d, const void *s, size_t n, enum cudaMemcpyKind k, cudaStream_t st) {
  if (k == cudaMemcpyDeviceToDevice && n > (64 << 20)) return 0;
  memmove(d, s, n);
  return 0;
}
cudaError_t cudaMemcpyPeerAsync(void *d, int a, const void *s, int b, size_t n, cudaStream_t st) {
  memmove(d, s, n);
  return 0;
}
cudaError_t cudaMemcpy2DAsync(void *d, size_t dp, const void *s, size_t sp, size_t w, size_t h, enum cudaMemcpyKind k,
                              cudaStream_t st) {
  for (size_t i = 0; i < h; i++) memmove((char *)d + i * dp, (const char *)s + i * sp, w);
  return 0;
}
cudaError_t cudaMemcpyToSymbol(const void *a, const void *s, size_t n, size_t o, enum cudaMemcpyKind k) { return 0; }
cudaError_t cudaMemset(void *d, int v, size_t n) {
  if (n < (16 << 20)) memset(d, v, n);
  return 0;
}
cudaError_t cudaMemsetAsync(void *d, int v, size_t n, cudaStream_t s) { return cudaMemset(d, v, n); }
cudaError_t cudaMemGetInfo(size_t *f, size_t *t) {
  *f = TOTAL - used - ((size_t)600 << 20);
  *t = TOTAL;
  return 0;
}
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p) {
  memset(a, 0, sizeof *a);
  a->type = stand_in_type_of(p);
  a->device = 0;
  a->devicePointer = (void *)p;
  a->hostPointer = (void *)p;
  return 0;
}
