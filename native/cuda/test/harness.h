// Harness of the CUDA tests: a context over one stream, arrays on the device with guards, and `cuda_case`, which runs a call
// of an op on every row that takes it, as the device would. The programs run on the emulator, and on a GPU when they are
// compiled by nvcc; they end with 77 (skipped) where there is none.
#ifndef VERSEMI_CUDA_TEST_HARNESS_H
#define VERSEMI_CUDA_TEST_HARNESS_H

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/context.h"
#include "test/conv_reference.h"  // native/test: problems of convolutions, check, compare, generator, finish

namespace versemi_test {

using versemi::cuda::precision;
using versemi::cuda::storage;

inline void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  check(false, std::string(what) + ": " + cudaGetErrorString(error));
#if defined(VERSEMI_CUDA_EMULATED)
  versemi::cuda::emulator::reset();  // the tests that follow are worth running
#else
  std::exit(1);
#endif
}

// bfloat16 on the host: nearest even, NaN stays NaN.
inline std::uint16_t bf16_bits(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if (value != value) return 0x7fff;
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
inline float bf16_value(std::uint16_t half) {
  const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
// What a tensor stored as bfloat16 holds.
inline std::vector<float> rounded_to_bf16(std::vector<float> values) {
  for (float& value : values) value = bf16_value(bf16_bits(value));
  return values;
}

// `count` elements on the device between two guards; NaN until something is uploaded.
template <typename T>
class device_array {
 public:
  explicit device_array(std::int64_t count) : count_(count) {
    const std::size_t size = static_cast<std::size_t>(count + 2 * guard) * sizeof(T);
    require(cudaMalloc(&memory_, size), "cudaMalloc");
    poison();
  }
  explicit device_array(const std::vector<T>& values) : device_array(static_cast<std::int64_t>(values.size())) { upload(values); }
  ~device_array() { cudaFree(memory_); }
  device_array(const device_array&) = delete;
  device_array& operator=(const device_array&) = delete;

  T* data() { return static_cast<T*>(memory_) + guard; }
  std::int64_t count() const { return count_; }
  void poison() {
    std::vector<unsigned char> bytes(static_cast<std::size_t>(count_ + 2 * guard) * sizeof(T), mark);
    std::memset(bytes.data() + guard * sizeof(T), 0xff, static_cast<std::size_t>(count_) * sizeof(T));
    require(cudaMemcpy(memory_, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "poison");
  }
  void upload(const std::vector<T>& values) {
    if (values.empty()) return;
    require(cudaMemcpy(data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "upload");
  }
  std::vector<T> download() {
    std::vector<T> values(static_cast<std::size_t>(count_));
    if (count_ > 0) require(cudaMemcpy(values.data(), data(), values.size() * sizeof(T), cudaMemcpyDeviceToHost), "download");
    return values;
  }
  bool intact() {
    std::vector<unsigned char> bytes(static_cast<std::size_t>(count_ + 2 * guard) * sizeof(T));
    require(cudaMemcpy(bytes.data(), memory_, bytes.size(), cudaMemcpyDeviceToHost), "guards");
    const std::size_t side = guard * sizeof(T);
    for (std::size_t i = 0; i < side; i++)
      if (bytes[i] != mark || bytes[bytes.size() - 1 - i] != mark) return false;
    return true;
  }

 private:
  static constexpr std::int64_t guard = 128;  // data() stays 256-byte aligned
  static constexpr unsigned char mark = 0x5b;
  std::int64_t count_;
  void* memory_ = nullptr;
};

// Ends the program where there is no GPU to run on.
inline void require_device() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess && count > 0) return;
  std::printf("no GPU: skipped\n");
  std::exit(77);
}

// A context whose kernels see `capability`: the emulator takes it; a GPU of at least that capability pretends to it, and with
// 0 is what it is.
class test_context final : public versemi::cuda::context {
 public:
  explicit test_context(precision operands = precision::bfloat16, int capability = 0) : operands_(operands) {
    require_device();
#if defined(VERSEMI_CUDA_EMULATED)
    versemi::cuda::emulator::set_device(capability == 0 ? 90 : capability, std::size_t{8} << 30);
#endif
    cudaDeviceProp found;
    require(cudaGetDeviceProperties(&found, 0), "properties");
    const int own = found.major * 10 + found.minor;
    available_ = capability <= own;
    properties_.compute_capability = capability == 0 ? own : capability;
    properties_.multiprocessors = found.multiProcessorCount;
    properties_.shared_bytes_per_block = static_cast<int>(found.sharedMemPerBlockOptin);
    if ((capability == 86 || capability == 89) && properties_.shared_bytes_per_block > 99 * 1024)
      properties_.shared_bytes_per_block = 99 * 1024;
    properties_.memory_bytes = static_cast<std::int64_t>(found.totalGlobalMem);
    properties_.level2_bytes = found.l2CacheSize;
    std::snprintf(properties_.name, sizeof properties_.name, "%.255s", found.name);
    require(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
  }
  ~test_context() override {
    for (void* memory : scratch_) cudaFree(memory);
    cudaStreamDestroy(stream_);
  }

  // False on a GPU that is older than what was asked for: leave the test.
  bool available() const { return available_; }
  const versemi::cuda::device_properties& properties() const override { return properties_; }
  precision operands() const override { return operands_; }
  cudaStream_t stream() const override { return stream_; }
  // Fresh, poisoned memory for every request: a kernel that reads what it did not write finds NaN.
  void* scratch(versemi::cuda::scratch_slot slot, std::size_t bytes) override {
    cudaStreamSynchronize(stream_);
    void*& memory = scratch_[static_cast<int>(slot)];
    cudaFree(memory);
    memory = nullptr;
    if (cudaMalloc(&memory, bytes == 0 ? 1 : bytes) != cudaSuccess) return nullptr;
    cudaMemset(memory, 0xff, bytes == 0 ? 1 : bytes);
    return memory;
  }
  void synchronize(const std::string& what) { require(cudaStreamSynchronize(stream_), what.c_str()); }

 private:
  precision operands_;
  bool available_ = true;
  versemi::cuda::device_properties properties_;
  cudaStream_t stream_ = nullptr;
  void* scratch_[versemi::cuda::scratch_slots] = {nullptr};
};

// One call of an op. Every row that does not refuse it runs (or only the row called `only`, which must not refuse): several
// times, on the emulator with the threads and blocks in other orders; all runs must give the same bits. Outputs are poisoned
// before and compared with the reference; inputs must not change.
class cuda_case {
 public:
  cuda_case(std::string name, std::int32_t op, doubles attributes)
      : name_(std::move(name)), op_(op), attributes_(std::move(attributes)) {}

  // An input as float32, or as bfloat16 (values are rounded).
  cuda_case& in(const std::vector<float>& values, storage format = storage::float32) {
    return add({kind::input, values, {}, 0, 0, format});
  }
  cuda_case& none() { return add({kind::absent, {}, {}, 0, 0, storage::float32}); }
  // |found - expected| <= absolute + relative * |expected|; where the row stores bfloat16, 2^-8 of expected is added.
  cuda_case& out(const doubles& expected, double relative, double absolute) {
    return add({kind::output, {}, expected, relative, absolute, storage::float32});
  }
  cuda_case& in_out(const std::vector<float>& values, const doubles& expected, double relative, double absolute) {
    return add({kind::in_out, values, expected, relative, absolute, storage::float32});
  }
  cuda_case& only(const char* row) {
    only_ = row;
    return *this;
  }

  // Number of rows that ran. `results`: what the last of them gave, as float32.
  int run(test_context& context, std::vector<std::vector<float>>* results = nullptr) {
    if (!context.available()) return 0;
    std::int32_t count = 0;
    const versemi::cuda::kernel* const* rows = versemi::cuda::rows_of(op_, &count);
    int ran = 0;
    for (std::int32_t i = 0; i < count; i++) {
      const versemi::cuda::kernel& row = *rows[i];
      if (!only_.empty() && only_ != row.name) continue;
      const std::string what = name_ + " by " + row.name;
      const char* refused = row.refuses(context, attributes_.data(), static_cast<std::int32_t>(attributes_.size()));
      if (refused != nullptr) {
        if (!only_.empty()) check(false, what + ": refused: " + refused);
        continue;
      }
      ran++;
      std::vector<std::vector<unsigned char>> first;
      for (unsigned order = 0; order < 3; order++) {
#if defined(VERSEMI_CUDA_EMULATED)
        versemi::cuda::emulator::set_order(order);
#endif
        std::vector<std::vector<unsigned char>> bits = once(context, row, what, order == 0, results);
        if (order == 0) first = bits;
        check(bits == first, what + ": other bits on run " + std::to_string(order));
      }
#if defined(VERSEMI_CUDA_EMULATED)
      versemi::cuda::emulator::set_order(0);
#endif
    }
    check(ran > 0, name_ + ": no row takes it");
    return ran;
  }

  // The formats that the last run's row chose, in the order of the arguments.
  const std::vector<storage>& formats() const { return formats_; }

 private:
  enum class kind { input, absent, output, in_out };
  struct argument {
    kind what;
    std::vector<float> values;
    doubles expected;
    double relative, absolute;
    storage format;
    std::int64_t count() const {
      return static_cast<std::int64_t>(what == kind::input ? values.size() : expected.size());
    }
  };

  cuda_case& add(argument a) {
    arguments_.push_back(std::move(a));
    return *this;
  }

  std::vector<std::vector<unsigned char>> once(test_context& context, const versemi::cuda::kernel& row,
                                               const std::string& what, bool compares, std::vector<std::vector<float>>* results) {
    const auto n = static_cast<std::int32_t>(arguments_.size());
    std::vector<versemi::cuda::tensor> tensors(arguments_.size());
    for (std::size_t i = 0; i < tensors.size(); i++) {
      tensors[i].elements = arguments_[i].what == kind::absent ? 0 : arguments_[i].count();
      tensors[i].format = arguments_[i].format;
    }
    if (row.plan != nullptr) {
      row.plan(context, tensors.data(), n, attributes_.data(), static_cast<std::int32_t>(attributes_.size()));
    } else {
      for (versemi::cuda::tensor& t : tensors) t.format = storage::float32;
    }
    formats_.clear();
    std::vector<std::unique_ptr<device_array<float>>> singles(tensors.size());
    std::vector<std::unique_ptr<device_array<std::uint16_t>>> halves(tensors.size());
    std::vector<std::vector<unsigned char>> before(tensors.size());
    for (std::size_t i = 0; i < tensors.size(); i++) {
      const argument& a = arguments_[i];
      formats_.push_back(tensors[i].format);
      if (a.what == kind::absent) continue;
      const bool holds_values = a.what != kind::output;
      if (tensors[i].format == storage::bfloat16) {
        check(a.what != kind::in_out, what + ": a tensor that is changed in place cannot be bfloat16");
        halves[i] = std::make_unique<device_array<std::uint16_t>>(a.count());
        std::vector<std::uint16_t> bits;
        for (float value : a.values) bits.push_back(bf16_bits(value));
        if (holds_values) halves[i]->upload(bits);
        tensors[i].data = halves[i]->data();
      } else {
        singles[i] = std::make_unique<device_array<float>>(a.count());
        if (holds_values) singles[i]->upload(a.format == storage::bfloat16 ? rounded_to_bf16(a.values) : a.values);
        tensors[i].data = singles[i]->data();
      }
      before[i] = bytes_of(singles[i].get(), halves[i].get());
    }
    const versemi_status status =
        row.run(context, tensors.data(), n, attributes_.data(), static_cast<std::int32_t>(attributes_.size()));
    check(status.code == VERSEMI_OK, what + ": " + status.message);
    context.synchronize(what);
    std::vector<std::vector<unsigned char>> bits;
    if (results != nullptr) results->clear();
    for (std::size_t i = 0; i < tensors.size(); i++) {
      const argument& a = arguments_[i];
      if (a.what == kind::absent) continue;
      const std::string which = what + ", tensor " + std::to_string(i);
      check(singles[i] ? singles[i]->intact() : halves[i]->intact(), which + ": written outside");
      std::vector<unsigned char> bytes = bytes_of(singles[i].get(), halves[i].get());
      if (a.what == kind::input) {
        check(bytes == before[i], which + ": an input changed");
        continue;
      }
      std::vector<float> values;
      if (singles[i]) {
        values = singles[i]->download();
      } else {
        for (std::uint16_t half : halves[i]->download()) values.push_back(bf16_value(half));
      }
      if (compares) compare(values, a.expected, a.relative + (halves[i] ? 1.0 / 256 : 0), a.absolute, which);
      if (results != nullptr) results->push_back(values);
      bits.push_back(std::move(bytes));
    }
    return bits;
  }

  static std::vector<unsigned char> bytes_of(device_array<float>* singles, device_array<std::uint16_t>* halves) {
    std::vector<unsigned char> bytes;
    const auto take = [&](const auto& values) {
      bytes.resize(values.size() * sizeof(values[0]));
      if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
    };
    singles != nullptr ? take(singles->download()) : take(halves->download());
    return bytes;
  }

  std::string name_, only_;
  std::int32_t op_;
  doubles attributes_;
  std::vector<argument> arguments_;
  std::vector<storage> formats_;
};

// As kernel_case of kernel_test.h: on a device of its own, everything float32.
class default_case : public cuda_case {
 public:
  using cuda_case::cuda_case;
  default_case& in(const std::vector<float>& values) { return cuda_case::in(values), *this; }
  default_case& none() { return cuda_case::none(), *this; }
  default_case& out(const doubles& expected, double relative, double absolute) {
    return cuda_case::out(expected, relative, absolute), *this;
  }
  default_case& in_out(const std::vector<float>& values, const doubles& expected, double relative, double absolute) {
    return cuda_case::in_out(values, expected, relative, absolute), *this;
  }
  void run() {
    test_context context(precision::float32);
    cuda_case::run(context);
  }
};

}  // namespace versemi_test

#endif
