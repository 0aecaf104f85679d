// What the generated checks (kernel_checks.h) are written with: a cursor over the attributes and buffers of one call, and the functions
// that expressions of the kernel table may call (the same ones stand in src/tfjs/table/expression.ts). Everything is computed in
// double, as in TypeScript: a product below 2^53 is exact, and one above stays above largest_count after rounding.
#ifndef VERSEMI_CALL_CHECK_H
#define VERSEMI_CALL_CHECK_H

#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>

#include "versemi/device_abi.h"

namespace versemi {

constexpr double largest_count = 70368744177664.0;  // 2^46

// A list among the attributes; empty after a failure.
struct checked_list {
  const double* values;
  int64_t length;
  double operator[](int64_t i) const { return values[i]; }
};

inline double sum(const checked_list& list) {
  double total = 0;
  for (int64_t i = 0; i < list.length; i++) total += list[i];
  return total;
}

inline double product(const checked_list& list) {
  double total = 1;
  for (int64_t i = 0; i < list.length; i++) total *= list[i];
  return total;
}

inline double product_of_sums(const checked_list& a, const checked_list& b, const checked_list& c) {
  double total = 1;
  for (int64_t i = 0; i < a.length && i < b.length && i < c.length; i++) total *= a[i] + b[i] + c[i];
  return total;
}

// Index of the last element of a strided view, plus 1.
inline double extent(const checked_list& shape, const checked_list& strides) {
  double last = 1;
  for (int64_t i = 0; i < shape.length && i < strides.length; i++) {
    if (shape[i] == 0) return 0;
    last += (shape[i] - 1) * strides[i];
  }
  return last;
}

// Index of the last element of `batch` matrices of `size` elements that begin `step` apart, plus 1.
inline double strided(double batch, double step, double size) {
  return batch == 0 || size == 0 ? 0 : (batch - 1) * step + size;
}

inline bool is_permutation(const checked_list& list) {
  for (int64_t axis = 0; axis < list.length; axis++) {
    bool found = false;
    for (int64_t i = 0; i < list.length; i++) found = found || list[i] == static_cast<double>(axis);
    if (!found) return false;
  }
  return true;
}

inline bool is_within(const checked_list& begin, const checked_list& size, const checked_list& shape) {
  for (int64_t i = 0; i < begin.length && i < size.length && i < shape.length; i++)
    if (!(begin[i] + size[i] <= shape[i])) return false;
  return true;
}

// Reads attributes in order, then compares buffers in order. After the first failure everything else does nothing and gives 1 or
// an empty list, so that checks read as plain statements.
class call_check {
 public:
  // buffer_count < 0: the attributes alone are checked, though sizes are limited all the same. elements (or nullptr): gets what
  // each buffer must hold.
  call_check(const versemi_buffer* buffers, int32_t buffer_count, const double* attributes, int32_t attribute_count,
             int64_t* elements)
      : buffers_(buffers),
        buffer_count_(buffer_count),
        attributes_(attributes),
        attribute_count_(attribute_count),
        elements_(elements) {}

  // Next attribute: a whole number in [low, high].
  double whole(const char* name, double low, double high) {
    const double value = number(name);
    if (failed()) return 1;
    if (!(value >= low && value <= high) || std::floor(value) != value) {
      fail("attribute %s: expected a whole number from %.0f to %.0f, found %.17g", name, low, high, value);
      return 1;
    }
    return value;
  }

  // Next attribute: any number (NaN and infinity are for the op to carry on).
  double number(const char* name) {
    if (failed()) return 1;
    if (attribute_ == attribute_count_) {
      fail("attribute %s: expected a number, found only %d attributes", name, attribute_count_);
      return 1;
    }
    return attributes_[attribute_++];
  }

  double number_from(const char* name, double low) {
    const double value = number(name);
    if (!failed() && !(value >= low)) fail("attribute %s: expected a number >= %g, found %g", name, low, value);
    return value;
  }

  // Next attributes: `length` whole numbers.
  checked_list list(const char* name, double length) {
    if (failed()) return {nullptr, 0};
    if (length > attribute_count_ - attribute_) {
      fail("attribute %s: expected %.0f numbers, found only %d attributes", name, length, attribute_count_);
      return {nullptr, 0};
    }
    const checked_list list = {attributes_ + attribute_, static_cast<int64_t>(length)};
    for (int64_t i = 0; i < list.length; i++) whole(name, 0, largest_count);
    return failed() ? checked_list{nullptr, 0} : list;
  }

  void require(bool condition, const char* rule) {
    if (!failed() && !condition) fail("attributes: expected %s, found a call for which that does not hold", rule);
  }

  // Whether buffer `i` of `count` that are repeated is still to be checked.
  bool goes_on(int64_t i, double count) const { return !failed() && static_cast<double>(i) < count; }

  // Next buffer: at least `elements` float32, or nothing where it may be absent.
  void buffer(const char* name, double elements, bool may_be_absent) {
    if (failed()) return;
    if (!(elements <= largest_count)) return fail("buffer %s: expected at most 2^46 elements, found %.0f", name, elements);
    if (buffer_count_ < 0) return;
    if (buffer_ == buffer_count_) return fail("buffer %s: expected one, found only %d buffers", name, buffer_count_);
    if (elements_ != nullptr) elements_[buffer_] = static_cast<int64_t>(elements);
    const versemi_buffer& found = buffers_[buffer_++];
    if (found.data == nullptr) {
      if (!may_be_absent) fail("buffer %s: expected one, found none", name);
    } else if (static_cast<double>(found.bytes) < elements * 4) {
      fail("buffer %s: expected %.0f bytes, found %lld", name, elements * 4, static_cast<long long>(found.bytes));
    }
  }

  // After all checks: nothing may be left over.
  versemi_status finish() {
    if (!failed() && attribute_ != attribute_count_)
      fail("attributes: expected %d numbers, found %d", attribute_, attribute_count_);
    if (!failed() && buffer_count_ >= 0 && buffer_ != buffer_count_)
      fail("buffers: expected %d, found %d", buffer_, buffer_count_);
    return status_;
  }

 private:
  bool failed() const { return status_.code != VERSEMI_OK; }

  void fail(const char* format, ...)
#if defined(__GNUC__)
      __attribute__((format(printf, 2, 3)))
#endif
  {
    status_.code = VERSEMI_INVALID_ARGUMENT;
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(status_.message, sizeof status_.message, format, arguments);
    va_end(arguments);
  }

  const versemi_buffer* buffers_;
  int32_t buffer_count_;
  const double* attributes_;
  int32_t attribute_count_;
  int64_t* elements_;
  int32_t attribute_ = 0;
  int32_t buffer_ = 0;
  versemi_status status_ = {VERSEMI_OK, {0}};
};

}  // namespace versemi

#endif
