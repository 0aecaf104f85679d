// Activations in memory, one access at a time: `Size` neighbours stored as T (float or bf16), as floats. Size is 1, or what
// fills 16 bytes (packet_size<T>), at an address that is a multiple of it. Only .cu files include this.
#ifndef VERSEMI_CUDA_PACKETS_H
#define VERSEMI_CUDA_PACKETS_H

#include "core/intrinsics.h"
#include "core/kernel.h"

namespace versemi {
namespace cuda {

template <typename T>
constexpr int packet_size = 16 / static_cast<int>(sizeof(T));

__device__ __forceinline__ float as_float(float value) { return value; }
__device__ __forceinline__ float as_float(bf16 value) { return to_float(value); }
__device__ __forceinline__ void assign(float& stored, float value) { stored = value; }
__device__ __forceinline__ void assign(bf16& stored, float value) { stored = to_bf16(value); }

// raw: as it lies in memory, so that several can be in flight before they become floats.
template <typename T, int Size>
struct packet;

template <typename T>
struct packet<T, 1> {
  T raw;
  __device__ __forceinline__ void load(const T* from) { raw = *from; }
  __device__ __forceinline__ void get(float (&values)[1]) const { values[0] = as_float(raw); }
  __device__ __forceinline__ void set(const float (&values)[1]) { assign(raw, values[0]); }
  __device__ __forceinline__ void store(T* to) const { *to = raw; }
};

template <>
struct packet<float, 4> {
  float4 raw;
  __device__ __forceinline__ void load(const float* from) { raw = *reinterpret_cast<const float4*>(from); }
  __device__ __forceinline__ void get(float (&values)[4]) const {
    values[0] = raw.x, values[1] = raw.y, values[2] = raw.z, values[3] = raw.w;
  }
  __device__ __forceinline__ void set(const float (&values)[4]) {
    raw = make_float4(values[0], values[1], values[2], values[3]);
  }
  __device__ __forceinline__ void store(float* to) const { *reinterpret_cast<float4*>(to) = raw; }
};

template <>
struct packet<bf16, 8> {
  uint4 raw;
  __device__ __forceinline__ void load(const bf16* from) { raw = *reinterpret_cast<const uint4*>(from); }
  __device__ __forceinline__ void get(float (&values)[8]) const {
    const float2 a = unpack_bf16(raw.x), b = unpack_bf16(raw.y), c = unpack_bf16(raw.z), d = unpack_bf16(raw.w);
    values[0] = a.x, values[1] = a.y, values[2] = b.x, values[3] = b.y;
    values[4] = c.x, values[5] = c.y, values[6] = d.x, values[7] = d.y;
  }
  __device__ __forceinline__ void set(const float (&values)[8]) {
    raw = make_uint4(pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3]), pack_bf16(values[4], values[5]),
                     pack_bf16(values[6], values[7]));
  }
  __device__ __forceinline__ void store(bf16* to) const { *reinterpret_cast<uint4*>(to) = raw; }
};

// bf16 where activations are stored so and one of the tensors already is, else float32: for tensors of one size.
inline storage common_storage(precision operands, const tensor* tensors, int count) {
  for (int i = 0; i < count; i++)
    if (operands == precision::bfloat16 && tensors[i].format == storage::bfloat16) return storage::bfloat16;
  return storage::float32;
}

}  // namespace cuda
}  // namespace versemi

#endif
