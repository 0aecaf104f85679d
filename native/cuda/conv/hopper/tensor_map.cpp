// Tensor maps: by the driver, found through the runtime so that nothing links against it; or as they are, for the emulator.
#include "conv/hopper/tensor_map.h"

namespace versemi {
namespace cuda {
namespace {

// What the driver asks for (CUDA driver API, cuTensorMapEncodeTiled); its own refusal would be one number.
const char* wrong(const tensor_shape& shape) {
  if (reinterpret_cast<std::uintptr_t>(shape.data) % 16 != 0) return "the address is not a multiple of 16";
  if (shape.box[0] != 64) return "the box is not 128 bytes wide";
  for (int i = 0; i < 5; i++) {
    if (shape.size[i] < 1 || shape.size[i] > std::uint64_t{1} << 32) return "a size is zero or above 2^32";
    if (shape.box[i] < 1 || shape.box[i] > 256) return "a side of the box is zero or above 256";
  }
  for (std::uint64_t stride : shape.stride)
    if (stride % 16 != 0 || stride >= std::uint64_t{1} << 40) return "a stride is no multiple of 16 below 2^40";
  return nullptr;
}

}  // namespace

#if defined(VERSEMI_CUDA_EMULATED)

versemi_status make_tensor_map(tensor_map* map, const tensor_shape& shape) noexcept {
  const char* reason = wrong(shape);
  if (reason != nullptr) return failure(VERSEMI_DEVICE_FAILED, "tensor map: %s", reason);
  map->shape = shape;
  return ok();
}

#else

versemi_status make_tensor_map(tensor_map* map, const tensor_shape& shape) noexcept {
  using encode_function = decltype(&cuTensorMapEncodeTiled);
  const char* reason = wrong(shape);
  if (reason != nullptr) return failure(VERSEMI_DEVICE_FAILED, "tensor map: %s", reason);
  static const encode_function encode = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result);
    return error == cudaSuccess && result == cudaDriverEntryPointSuccess ? reinterpret_cast<encode_function>(found) : nullptr;
  }();
  if (encode == nullptr) return failure(VERSEMI_DEVICE_FAILED, "the driver has no tensor maps (cuTensorMapEncodeTiled)");
  const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
  cuuint64_t size[5], stride[4];
  cuuint32_t box[5];
  for (int i = 0; i < 5; i++) {
    size[i] = shape.size[i];
    box[i] = shape.box[i];
    if (i < 4) stride[i] = shape.stride[i];
  }
  const CUresult result = encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 5, shape.data, size, stride, box, steps,
                                 CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) return failure(VERSEMI_DEVICE_FAILED, "tensor map: the driver's error %d", static_cast<int>(result));
  return ok();
}

#endif

}  // namespace cuda
}  // namespace versemi
