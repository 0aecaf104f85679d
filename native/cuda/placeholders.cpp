// Families that have no rows yet: each goes when its file comes.
#include "kernel.h"

namespace versemi {
namespace cuda {

#define VERSEMI_CUDA_NO_ROWS(name) \
  kernel_rows name##_kernels() { return {nullptr, 0}; }
VERSEMI_CUDA_NO_ROWS(conv3d_halo)
VERSEMI_CUDA_NO_ROWS(conv3d_gemm)
VERSEMI_CUDA_NO_ROWS(optimizer)
VERSEMI_CUDA_NO_ROWS(elementwise)
VERSEMI_CUDA_NO_ROWS(reduce)
VERSEMI_CUDA_NO_ROWS(matmul)
VERSEMI_CUDA_NO_ROWS(layout)

}  // namespace cuda
}  // namespace versemi
