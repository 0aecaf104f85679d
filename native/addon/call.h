// Cursor over the attributes and buffers of one call, for the rules of buffer_sizes.cpp.
#ifndef VERSEMI_ADDON_CALL_H
#define VERSEMI_ADDON_CALL_H

#include <cstdint>
#include <initializer_list>

#include "../cpu/context.h"
#include "versemi/kernel_table.h"

namespace versemi {

// Reads attributes in order, then compares buffers in order. After the first failure everything else is a no-op that
// yields 1, so that the rules below read as plain statements.
class call_cursor {
 public:
  // buffer_count < 0: the attributes alone are checked. elements (or nullptr): gets what each buffer must hold.
  call_cursor(const versemi_buffer* buffers, int32_t buffer_count, const double* attributes, int32_t attribute_count,
              int64_t* elements)
      : buffers_(buffers),
        buffer_count_(buffer_count),
        attributes_(attributes),
        attribute_count_(attribute_count),
        elements_(elements) {}

  // Next attribute: a whole number in [low, high].
  int64_t whole(const char* name, int64_t low, int64_t high = int64_t{1} << 46) {
    if (failed()) return 1;
    if (attribute_ == attribute_count_) return fail_attribute(name, "is missing");
    const double value = attributes_[attribute_++];
    if (!(value >= static_cast<double>(low) && value <= static_cast<double>(high)) ||
        static_cast<double>(static_cast<int64_t>(value)) != value) {
      status_ = failure(VERSEMI_INVALID_ARGUMENT, "%s: expected a whole number from %lld to %lld, found %.17g", name,
                        static_cast<long long>(low), static_cast<long long>(high), value);
      return 1;
    }
    return static_cast<int64_t>(value);
  }

  // Next attribute: any number (NaN and infinity are for the op to propagate).
  double number(const char* name) {
    if (failed()) return 1;
    if (attribute_ == attribute_count_) return static_cast<double>(fail_attribute(name, "is missing"));
    return attributes_[attribute_++];
  }

  void require(bool condition, const char* rule) {
    if (!failed() && !condition) status_ = failure(VERSEMI_INVALID_ARGUMENT, "%s", rule);
  }

  int64_t product(std::initializer_list<int64_t> factors) {
    double result = 1;
    for (const int64_t factor : factors) result *= static_cast<double>(factor);
    if (!(result <= largest_element_count)) require(false, "a tensor of more than 1e15 elements");
    return failed() ? 1 : static_cast<int64_t>(result);
  }

  // Next buffer: at least `elements` float32.
  void needs(const char* name, int64_t elements) { next_buffer(name, elements, true); }
  // The same, or absent.
  void takes(const char* name, int64_t elements) { next_buffer(name, elements, false); }

  versemi_status finish() {
    if (failed()) return status_;
    if (attribute_ != attribute_count_) {
      return failure(VERSEMI_INVALID_ARGUMENT, "expected %d attributes, found %d", attribute_, attribute_count_);
    }
    if (!attributes_only() && buffer_ != buffer_count_) {
      return failure(VERSEMI_INVALID_ARGUMENT, "expected %d buffers, found %d", buffer_, buffer_count_);
    }
    return ok();
  }

 private:
  // 4 PB: products of sizes stay exact in double and int64.
  static constexpr double largest_element_count = 1e15;

  bool failed() const { return status_.code != VERSEMI_OK; }
  bool attributes_only() const { return buffer_count_ < 0; }

  int64_t fail_attribute(const char* name, const char* what) {
    status_ = failure(VERSEMI_INVALID_ARGUMENT, "attribute %s %s (%d given)", name, what, attribute_count_);
    return 1;
  }

  void next_buffer(const char* name, int64_t elements, bool required) {
    if (failed() || attributes_only()) return;
    if (buffer_ == buffer_count_) {
      status_ = failure(VERSEMI_INVALID_ARGUMENT, "buffer %s is missing (%d given)", name, buffer_count_);
      return;
    }
    if (elements_ != nullptr) elements_[buffer_] = elements;
    const versemi_buffer& buffer = buffers_[buffer_++];
    if (buffer.data == nullptr) {
      if (required) status_ = failure(VERSEMI_INVALID_ARGUMENT, "buffer %s must not be absent", name);
      return;
    }
    if (buffer.bytes < elements * 4) {
      status_ = failure(VERSEMI_INVALID_ARGUMENT, "buffer %s: expected %lld bytes, found %lld", name,
                        static_cast<long long>(elements * 4), static_cast<long long>(buffer.bytes));
    }
  }

  const versemi_buffer* buffers_;
  int32_t buffer_count_;
  const double* attributes_;
  int32_t attribute_count_;
  int64_t* elements_;
  int32_t attribute_ = 0;
  int32_t buffer_ = 0;
  versemi_status status_ = ok();
};

}  // namespace versemi

#endif
