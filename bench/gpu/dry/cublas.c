/* cuBLAS: handles are made, and nothing is multiplied. */
#include <stdlib.h>

#define DOES_NOTHING(name)                                                                                             \
  int name(void) { return 0; }
#define MAKES(name)                                                                                                    \
  int name(void **made) {                                                                                              \
    *made = calloc(1, 256);                                                                                            \
    return 0;                                                                                                          \
  }
#define FREES(name)                                                                                                    \
  int name(void *made) {                                                                                               \
    free(made);                                                                                                        \
    return 0;                                                                                                          \
  }
#define SAYS_ZERO(name)                                                                                                \
  int name(void *handle, int *value) {                                                                                 \
    *value = 0;                                                                                                        \
    return 0;                                                                                                          \
  }

MAKES(cublasCreate_v2)
MAKES(cublasLtMatmulDescCreate)
MAKES(cublasLtMatrixLayoutCreate)
MAKES(cublasLtMatmulPreferenceCreate)
FREES(cublasLtMatmulDescDestroy)
FREES(cublasLtMatrixLayoutDestroy)
FREES(cublasLtMatmulPreferenceDestroy)
SAYS_ZERO(cublasGetMathMode)
SAYS_ZERO(cublasGetPointerMode_v2)
DOES_NOTHING(cublasDestroy_v2)
DOES_NOTHING(cublasSetStream_v2)
DOES_NOTHING(cublasSetWorkspace_v2)
DOES_NOTHING(cublasSetMathMode)
DOES_NOTHING(cublasSetPointerMode_v2)
DOES_NOTHING(cublasGemmEx)
DOES_NOTHING(cublasSgemmEx)
DOES_NOTHING(cublasSgemm_v2)
DOES_NOTHING(cublasSgemmStridedBatched)
DOES_NOTHING(cublasGemmStridedBatchedEx)
DOES_NOTHING(cublasSgemv_v2)
DOES_NOTHING(cublasDgemm_v2)
DOES_NOTHING(cublasDotEx)
DOES_NOTHING(cublasSdot_v2)
DOES_NOTHING(cublasDgemmStridedBatched)
DOES_NOTHING(cublasLtMatmul)
DOES_NOTHING(cublasLtMatmulDescSetAttribute)
DOES_NOTHING(cublasLtMatrixLayoutSetAttribute)
DOES_NOTHING(cublasLtMatmulPreferenceSetAttribute)

size_t cublasLtGetVersion(void) { return 130100; }
int cublasLtMatmulAlgoGetHeuristic(void *handle, void *operation, void *a, void *b, void *c, void *d, void *preference,
                                   int wanted, void *results, int *found) {
  *found = 1;
  return 0;
}
