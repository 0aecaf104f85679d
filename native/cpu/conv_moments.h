// Mean and deviation from partial sums, in double and in a fixed order: Chan, Golub, LeVeque, "Updating formulae and a
// pairwise algorithm for computing sample variances", 1979.
#ifndef VERSEMI_CPU_CONV_MOMENTS_H
#define VERSEMI_CPU_CONV_MOMENTS_H

#include <cmath>

#include "simd.h"

namespace versemi {
namespace VERSEMI_ISA {

class moment_sum {
 public:
  // `number` values v with sum(v - shift) = total and sum((v - shift)^2) = squares.
  void add(double number, double shift, double total, double squares) {
    const double deviation = total / number;
    const double difference = shift + deviation - average_, together = count_ + number;
    average_ += difference * number / together;
    squares_ += squares - total * deviation + difference * difference * count_ * number / together;
    count_ = together;
  }
  double mean() const { return average_; }
  // 1 / sqrt(biased variance + epsilon)
  double rstd(double epsilon) const {
    const double variance = squares_ < 0 ? 0 : squares_ / count_;
    return 1.0 / std::sqrt(variance + epsilon);
  }

 private:
  double count_ = 0, average_ = 0, squares_ = 0;
};

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
