/* Events know the time, streams run at once, graphs are captured and replayed as nothing. */
#include "stand_in.h"

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned f) {
  *e = calloc(1, sizeof(struct timespec));
  return 0;
}
cudaError_t cudaEventCreate(cudaEvent_t *e) { return cudaEventCreateWithFlags(e, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t e) {
  free(e);
  return 0;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  clock_gettime(CLOCK_MONOTONIC, (struct timespec *)e);
  return 0;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned f) { return cudaEventRecord(e, s); }
cudaError_t cudaEventQuery(cudaEvent_t e) { return 0; }
cudaError_t cudaEventSynchronize(cudaEvent_t e) { return 0; }
cudaError_t cudaEventElapsedTime(float *m, cudaEvent_t a, cudaEvent_t b) {
  struct timespec *x = (void *)a, *y = (void *)b;
  *m = (y->tv_sec - x->tv_sec) * 1e3f + (y->tv_nsec - x->tv_nsec) * 1e-6f;
  if (*m <= 0) *m = 0.001f;
  return 0;
}
static int capturing;
static unsigned long long capture_id;
cudaError_t cudaStreamCreate(cudaStream_t *s) {
  *s = calloc(1, 16);
  return 0;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned f, int p) {
  *s = calloc(1, 16);
  return 0;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) { return 0; }
cudaError_t cudaStreamQuery(cudaStream_t s) { return 0; }
cudaError_t cudaStreamSynchronize(cudaStream_t s) { return capturing ? 900 : 0; }
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned f) { return 0; }
cudaError_t cudaStreamGetPriority(cudaStream_t s, int *p) {
  *p = 0;
  return 0;
}
cudaError_t cudaStreamAddCallback(cudaStream_t s, cudaStreamCallback_t c, void *u, unsigned f) {
  c(s, 0, u);
  return 0;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t f, void *u) {
  f(u);
  return 0;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode m) {
  capturing = 1;
  capture_id++;
  return 0;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g) {
  capturing = 0;
  *g = calloc(1, 16);
  return 0;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *c) {
  *c = capturing ? 1 : 0;
  return 0;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t s, enum cudaStreamCaptureStatus *c, unsigned long long *id,
                                     cudaGraph_t *g, const cudaGraphNode_t **d, const cudaGraphEdgeData **e,
                                     size_t *n) {
  *c = capturing ? 1 : 0;
  if (id) *id = capture_id;
  if (g) *g = 0;
  if (n) *n = 0;
  return 0;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *m) { return 0; }
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long f) {
  *e = calloc(1, 16);
  return 0;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t g, cudaGraphNode_t *n, size_t *c) {
  *c = 1;
  return 0;
}
cudaError_t cudaGraphNodeGetDependencies(cudaGraphNode_t a, cudaGraphNode_t *b, cudaGraphEdgeData *e, size_t *c) {
  *c = 0;
  return 0;
}
cudaError_t cudaGraphDestroy(cudaGraph_t g) { return 0; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t g) { return 0; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t g, cudaStream_t s) { return 0; }
cudaError_t cudaGraphDebugDotPrint(cudaGraph_t g, const char *p, unsigned f) { return 0; }
