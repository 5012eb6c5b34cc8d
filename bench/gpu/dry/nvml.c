/* libnvidia-ml.so.1: one H100, as vLLM asks for it. */
#include <stdio.h>
#include <string.h>
typedef void *H;
int nvmlInit_v2(void) { return 0; }
int nvmlInit(void) { return 0; }
int nvmlInitWithFlags(unsigned f) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) {
  *n = 1;
  return 0;
}
int nvmlDeviceGetCount(unsigned *n) {
  *n = 1;
  return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned i, H *h) {
  *h = (H)8;
  return 0;
}
int nvmlDeviceGetHandleByIndex(unsigned i, H *h) {
  *h = (H)8;
  return 0;
}
int nvmlDeviceGetHandleByUUID(const char *u, H *h) {
  *h = (H)8;
  return 0;
}
int nvmlDeviceGetIndex(H h, unsigned *i) {
  *i = 0;
  return 0;
}
int nvmlDeviceGetName(H h, char *s, unsigned n) {
  snprintf(s, n, "NVIDIA H100 80GB HBM3");
  return 0;
}
int nvmlDeviceGetUUID(H h, char *s, unsigned n) {
  snprintf(s, n, "GPU-00000000-0000-0000-0000-000000000000");
  return 0;
}
int nvmlDeviceGetCudaComputeCapability(H h, int *a, int *b) {
  *a = 9;
  *b = 0;
  return 0;
}
int nvmlDeviceGetMemoryInfo(H h, unsigned long long *m) {
  m[0] = 79ull << 30;
  m[1] = 78ull << 30;
  m[2] = 1ull << 30;
  return 0;
}
int nvmlSystemGetDriverVersion(char *s, unsigned n) {
  snprintf(s, n, "580.159.04");
  return 0;
}
int nvmlSystemGetCudaDriverVersion(int *v) {
  *v = 13000;
  return 0;
}
int nvmlSystemGetCudaDriverVersion_v2(int *v) {
  *v = 13000;
  return 0;
}
const char *nvmlErrorString(int e) { return "stand-in"; }
