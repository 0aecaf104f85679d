// The part of NCCL's interface that sums over ranks need, declared here and looked up in libnccl.so.2 when a training begins: nothing of
// NCCL is needed to build, and the addon loads where there is none. Names and values are those of NCCL's API (NVIDIA, NCCL user guide).
#ifndef VERSEMI_CUDA_NCCL_H
#define VERSEMI_CUDA_NCCL_H

#include <cstddef>
#include <string>

#include "core/target.h"

namespace versemi {
namespace cuda {

constexpr int nccl_unique_id_bytes = 128;
struct nccl_unique_id {
  char internal[nccl_unique_id_bytes];
};
using nccl_communicator = struct nccl_communicator_state*;

// ncclResult_t, ncclDataType_t, ncclRedOp_t: those values that are used.
constexpr int nccl_success = 0, nccl_in_progress = 7;
constexpr int nccl_float32 = 7;
constexpr int nccl_sum = 0;

// The first whose version is counted as 10000 * major + 100 * minor + patch; older ones count otherwise, and know no GPU newer than A100.
constexpr int least_nccl_version = 20900;

struct nccl_functions {
  int (*get_version)(int* version) = nullptr;
  int (*get_unique_id)(nccl_unique_id* id) = nullptr;
  int (*comm_init_rank)(nccl_communicator* communicator, int ranks, nccl_unique_id id, int rank) = nullptr;
  int (*comm_destroy)(nccl_communicator communicator) = nullptr;
  // Ends what is under way, on any thread.
  int (*comm_abort)(nccl_communicator communicator) = nullptr;
  int (*comm_get_async_error)(nccl_communicator communicator, int* result) = nullptr;
  int (*all_reduce)(const void* from, void* to, std::size_t count, int type, int operation, nccl_communicator communicator,
                    cudaStream_t stream) = nullptr;
  const char* (*get_error_string)(int result) = nullptr;
  // What went wrong in more words; nullptr before 2.13.
  const char* (*get_last_error)(nccl_communicator communicator) = nullptr;

  int version = 0;
  // "2.21.5"
  std::string version_text() const;
  // What NCCL says of a result that is not nccl_success.
  std::string error(int result) const;
};

// The library of this name or path, opened once and kept. nullptr: `found` says what is there instead of NCCL 2.9 or newer.
const nccl_functions* open_nccl(const std::string& file, std::string* found);

}  // namespace cuda
}  // namespace versemi

#endif
