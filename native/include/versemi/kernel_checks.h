// Made by src/tfjs/table/generate.mjs from src/tfjs/table/kernel-table.ts, which says what each op computes. Do not edit.
//
// Whether a call fits its row: attributes, conditions, elements of each buffer. Included by the addon alone, which checks every
// call once before a kernel sees it.
#ifndef VERSEMI_KERNEL_CHECKS_H
#define VERSEMI_KERNEL_CHECKS_H

#include "versemi/call_check.h"
#include "versemi/kernel_table.h"

namespace versemi {

struct checked_convolution {
  double n_, in_d_, in_h_, in_w_, in_c_, out_d_, out_h_, out_w_, out_c_, k_d_, k_h_, k_w_, s_d_, s_h_, s_w_, pad_d_,
         pad_h_, pad_w_, input_size_, weight_size_, output_size_;
  explicit checked_convolution(call_check& call)
      : n_(call.whole("n", 1, 2147483647)), in_d_(call.whole("inD", 1, 2147483647)),
        in_h_(call.whole("inH", 1, 2147483647)), in_w_(call.whole("inW", 1, 2147483647)),
        in_c_(call.whole("inC", 1, 2147483647)), out_d_(call.whole("outD", 1, 2147483647)),
        out_h_(call.whole("outH", 1, 2147483647)), out_w_(call.whole("outW", 1, 2147483647)),
        out_c_(call.whole("outC", 1, 2147483647)), k_d_(call.whole("kD", 1, 1048576)),
        k_h_(call.whole("kH", 1, 1048576)), k_w_(call.whole("kW", 1, 1048576)), s_d_(call.whole("sD", 1, 1048576)),
        s_h_(call.whole("sH", 1, 1048576)), s_w_(call.whole("sW", 1, 1048576)), pad_d_(call.whole("padD", 0, 1048576)),
        pad_h_(call.whole("padH", 0, 1048576)), pad_w_(call.whole("padW", 0, 1048576)),
        input_size_(((((n_ * in_d_) * in_h_) * in_w_) * in_c_)),
        weight_size_(((((k_d_ * k_h_) * k_w_) * in_c_) * out_c_)),
        output_size_(((((n_ * out_d_) * out_h_) * out_w_) * out_c_)) {
    call.require((pad_d_ < k_d_), "padD < kD");
    call.require((pad_h_ < k_h_), "padH < kH");
    call.require((pad_w_ < k_w_), "padW < kW");
    call.require((s_d_ <= (in_d_ + pad_d_)), "sD <= inD + padD");
    call.require((s_h_ <= (in_h_ + pad_h_)), "sH <= inH + padH");
    call.require((s_w_ <= (in_w_ + pad_w_)), "sW <= inW + padW");
    call.require(((((out_d_ - 1.0) * s_d_) - pad_d_) < in_d_), "(outD - 1) * sD - padD < inD");
    call.require(((((out_h_ - 1.0) * s_h_) - pad_h_) < in_h_), "(outH - 1) * sH - padH < inH");
    call.require(((((out_w_ - 1.0) * s_w_) - pad_w_) < in_w_), "(outW - 1) * sW - padW < inW");
  }
};

struct checked_instance_norm {
  double n_, voxels_, channels_, relu_, all_, statistics_;
  explicit checked_instance_norm(call_check& call)
      : n_(call.whole("n", 1, largest_count)), voxels_(call.whole("voxels", 1, largest_count)),
        channels_(call.whole("channels", 1, largest_count)), relu_(call.whole("relu", 0, 1)),
        all_(((n_ * voxels_) * channels_)), statistics_((n_ * channels_)) {
  }
};

struct checked_head {
  double n_, prompts_, voxels_, width_, feature_size_, parameter_size_, logit_size_;
  explicit checked_head(call_check& call)
      : n_(call.whole("n", 1, largest_count)), prompts_(call.whole("prompts", 1, largest_count)),
        voxels_(call.whole("voxels", 1, largest_count)), width_(call.whole("width", 1, 4096)),
        feature_size_(((n_ * voxels_) * width_)),
        parameter_size_(((n_ * prompts_) * ((((2.0 * width_) * width_) + (4.0 * width_)) + 2.0))),
        logit_size_(((n_ * prompts_) * voxels_)) {
  }
};

struct checked_aggregate {
  double n_, prompts_, voxels_, real_, logit_size_, aggregate_size_;
  explicit checked_aggregate(call_check& call)
      : n_(call.whole("n", 1, largest_count)), prompts_(call.whole("prompts", 1, largest_count)),
        voxels_(call.whole("voxels", 1, largest_count)), real_(call.whole("real", 1, largest_count)),
        logit_size_(((n_ * prompts_) * voxels_)), aggregate_size_((n_ * voxels_)) {
    call.require((real_ <= prompts_), "real <= prompts");
  }
};

inline void check_conv3d_forward(call_check& call) {
  const checked_convolution family(call);
  call.buffer("input", family.input_size_, false);
  call.buffer("weight", family.weight_size_, false);
  call.buffer("bias", family.out_c_, true);
  call.buffer("output", family.output_size_, false);
}

inline void check_conv3d_grad_input(call_check& call) {
  const checked_convolution family(call);
  call.buffer("gradOutput", family.output_size_, false);
  call.buffer("weight", family.weight_size_, false);
  call.buffer("bias", family.in_c_, true);
  call.buffer("gradInput", family.input_size_, false);
}

inline void check_conv3d_grad_weight(call_check& call) {
  const checked_convolution family(call);
  call.buffer("input", family.input_size_, false);
  call.buffer("gradOutput", family.output_size_, false);
  call.buffer("gradWeight", family.weight_size_, false);
  call.buffer("gradBias", family.out_c_, true);
}

inline void check_conv3d_norm_relu(call_check& call) {
  const checked_convolution family(call);
  const double transposed_ = call.whole("transposed", 0, 1);
  call.whole("relu", 0, 1);
  call.number_from("epsilon", 0);
  const double source_size_ = (transposed_ != 0.0 ? family.output_size_ : family.input_size_);
  const double result_size_ = (transposed_ != 0.0 ? family.input_size_ : family.output_size_);
  const double statistics_ = (family.n_ * (transposed_ != 0.0 ? family.in_c_ : family.out_c_));
  call.buffer("input", source_size_, false);
  call.buffer("weight", family.weight_size_, false);
  call.buffer("skip", result_size_, true);
  call.buffer("output", result_size_, false);
  call.buffer("raw", result_size_, true);
  call.buffer("mean", statistics_, true);
  call.buffer("rstd", statistics_, true);
}

inline void check_instance_norm_relu(call_check& call) {
  const checked_instance_norm family(call);
  call.number_from("epsilon", 0);
  call.buffer("input", family.all_, false);
  call.buffer("output", family.all_, false);
  call.buffer("mean", family.statistics_, true);
  call.buffer("rstd", family.statistics_, true);
}

inline void check_instance_norm_relu_grad(call_check& call) {
  const checked_instance_norm family(call);
  call.buffer("gradOutput", family.all_, false);
  call.buffer("raw", family.all_, false);
  call.buffer("mean", family.statistics_, false);
  call.buffer("rstd", family.statistics_, false);
  call.buffer("gradRaw", family.all_, false);
}

inline void check_batch_norm_relu(call_check& call) {
  const double rows_ = call.whole("rows", 1, largest_count);
  const double channels_ = call.whole("channels", 1, largest_count);
  const double training_ = call.whole("training", 0, 1);
  call.whole("relu", 0, 1);
  call.number_from("epsilon", 0);
  const double all_ = (rows_ * channels_);
  call.buffer("input", all_, false);
  call.buffer("gamma", channels_, false);
  call.buffer("beta", channels_, false);
  call.buffer("movingMean", channels_, training_ != 0.0);
  call.buffer("movingVariance", channels_, training_ != 0.0);
  call.buffer("output", all_, training_ != 0.0);
  call.buffer("mean", channels_, (1.0 - training_) != 0.0);
  call.buffer("variance", channels_, (1.0 - training_) != 0.0);
}

inline void check_batch_norm_relu_grad(call_check& call) {
  const double rows_ = call.whole("rows", 1, largest_count);
  const double channels_ = call.whole("channels", 1, largest_count);
  call.whole("relu", 0, 1);
  call.number_from("epsilon", 0);
  const double averages_ = call.whole("averages", 0, 1);
  const double all_ = (rows_ * channels_);
  call.buffer("gradOutput", all_, false);
  call.buffer("input", all_, false);
  call.buffer("gamma", channels_, false);
  call.buffer("beta", channels_, false);
  call.buffer("mean", channels_, false);
  call.buffer("variance", channels_, false);
  call.buffer("averageGradient", channels_, (1.0 - averages_) != 0.0);
  call.buffer("averageProduct", channels_, (1.0 - averages_) != 0.0);
  call.buffer("gradInput", all_, (1.0 - averages_) != 0.0);
  call.buffer("gradGamma", channels_, averages_ != 0.0);
  call.buffer("gradBeta", channels_, averages_ != 0.0);
}

inline void check_dynamic_head(call_check& call) {
  const checked_head family(call);
  call.buffer("features", family.feature_size_, false);
  call.buffer("parameters", family.parameter_size_, false);
  call.buffer("logits", family.logit_size_, false);
}

inline void check_dynamic_head_grad(call_check& call) {
  const checked_head family(call);
  call.buffer("gradLogits", family.logit_size_, false);
  call.buffer("features", family.feature_size_, false);
  call.buffer("parameters", family.parameter_size_, false);
  call.buffer("gradFeatures", family.feature_size_, false);
  call.buffer("gradParameters", family.parameter_size_, false);
}

inline void check_overlap_sums(call_check& call) {
  const double rows_ = call.whole("rows", 0, largest_count);
  const double count_ = call.whole("count", 0, largest_count);
  const double all_ = (rows_ * count_);
  call.buffer("logits", all_, false);
  call.buffer("target", all_, false);
  call.buffer("mask", all_, true);
  call.buffer("sums", (rows_ * 5.0), false);
}

inline void check_overlap_sums_grad(call_check& call) {
  const double rows_ = call.whole("rows", 0, largest_count);
  const double count_ = call.whole("count", 0, largest_count);
  const double all_ = (rows_ * count_);
  call.buffer("gradSums", (rows_ * 5.0), false);
  call.buffer("logits", all_, false);
  call.buffer("target", all_, false);
  call.buffer("mask", all_, true);
  call.buffer("gradLogits", all_, true);
  call.buffer("gradTarget", all_, true);
}

inline void check_aggregate_max(call_check& call) {
  const checked_aggregate family(call);
  call.buffer("logits", family.logit_size_, false);
  call.buffer("aggregate", family.aggregate_size_, false);
}

inline void check_aggregate_max_grad(call_check& call) {
  const checked_aggregate family(call);
  call.buffer("gradAggregate", family.aggregate_size_, false);
  call.buffer("logits", family.logit_size_, false);
  call.buffer("gradLogits", family.logit_size_, false);
}

inline void check_pack_gradients(call_check& call) {
  const double n_ = call.whole("n", 0, 1048576);
  const checked_list size_ = call.list("size", n_);
  for (int64_t i = 0; call.goes_on(i, n_); i++) call.buffer("gradient", size_[i], true);
  call.buffer("arena", sum(size_), false);
  call.buffer("squaredNorm", 1.0, false);
}

inline void check_adam_step(call_check& call) {
  const double n_ = call.whole("n", 0, 1048576);
  call.number("learningRate");
  call.number("beta1");
  call.number("beta2");
  call.number("epsilon");
  call.number("weightDecay");
  call.whole("step", 1, largest_count);
  call.number("gradientScale");
  const checked_list size_ = call.list("size", n_);
  call.buffer("arena", sum(size_), false);
  call.buffer("firstMoment", sum(size_), false);
  call.buffer("secondMoment", sum(size_), false);
  for (int64_t i = 0; call.goes_on(i, n_); i++) call.buffer("parameter", size_[i], false);
}

inline void check_sgd_step(call_check& call) {
  const double n_ = call.whole("n", 0, 1048576);
  call.number("learningRate");
  call.number("momentum");
  call.number("weightDecay");
  call.number("gradientScale");
  const checked_list size_ = call.list("size", n_);
  call.buffer("arena", sum(size_), false);
  call.buffer("velocity", sum(size_), false);
  for (int64_t i = 0; call.goes_on(i, n_); i++) call.buffer("parameter", size_[i], false);
}

inline void check_ema_step(call_check& call) {
  const double n_ = call.whole("n", 0, 1048576);
  call.number("decay");
  const checked_list size_ = call.list("size", n_);
  for (int64_t i = 0; call.goes_on(i, n_); i++) call.buffer("parameter", size_[i], false);
  call.buffer("average", sum(size_), false);
}

inline void check_unary(call_check& call) {
  call.whole("kind", 0, 23);
  const double count_ = call.whole("count", 0, largest_count);
  call.number("parameterA");
  call.number("parameterB");
  call.buffer("input", count_, false);
  call.buffer("output", count_, false);
}

inline void check_binary(call_check& call) {
  call.whole("kind", 0, 8);
  const double rank_ = call.whole("rank", 0, 8);
  const checked_list shape_ = call.list("shape", rank_);
  const checked_list a_stride_ = call.list("aStride", rank_);
  const checked_list b_stride_ = call.list("bStride", rank_);
  call.buffer("a", extent(shape_, a_stride_), false);
  call.buffer("b", extent(shape_, b_stride_), false);
  call.buffer("output", product(shape_), false);
}

inline void check_reduce(call_check& call) {
  call.whole("kind", 0, 4);
  const double outer_ = call.whole("outer", 0, largest_count);
  const double reduced_ = call.whole("reduced", 0, largest_count);
  const double inner_ = call.whole("inner", 0, largest_count);
  call.buffer("input", ((outer_ * reduced_) * inner_), false);
  call.buffer("output", (outer_ * inner_), false);
}

inline void check_matmul(call_check& call) {
  const double batch_ = call.whole("batch", 0, largest_count);
  const double m_ = call.whole("m", 0, largest_count);
  const double k_ = call.whole("k", 0, largest_count);
  const double n_ = call.whole("n", 0, largest_count);
  call.whole("transposeA", 0, 1);
  call.whole("transposeB", 0, 1);
  const double a_step_ = call.whole("aStep", 0, largest_count);
  const double b_step_ = call.whole("bStep", 0, largest_count);
  call.buffer("a", strided(batch_, a_step_, (m_ * k_)), false);
  call.buffer("b", strided(batch_, b_step_, (k_ * n_)), false);
  call.buffer("output", ((batch_ * m_) * n_), false);
}

inline void check_transpose(call_check& call) {
  const double rank_ = call.whole("rank", 0, 8);
  const checked_list shape_ = call.list("shape", rank_);
  const checked_list permutation_ = call.list("permutation", rank_);
  call.require(is_permutation(permutation_), "isPermutation(permutation)");
  call.buffer("input", product(shape_), false);
  call.buffer("output", product(shape_), false);
}

inline void check_slice(call_check& call) {
  const double rank_ = call.whole("rank", 0, 8);
  const checked_list shape_ = call.list("shape", rank_);
  const checked_list begin_ = call.list("begin", rank_);
  const checked_list size_ = call.list("size", rank_);
  call.require(is_within(begin_, size_, shape_), "isWithin(begin, size, shape)");
  call.buffer("input", product(shape_), false);
  call.buffer("output", product(size_), false);
}

inline void check_pad(call_check& call) {
  const double rank_ = call.whole("rank", 0, 8);
  const checked_list shape_ = call.list("shape", rank_);
  const checked_list before_ = call.list("before", rank_);
  const checked_list after_ = call.list("after", rank_);
  call.number("value");
  call.buffer("input", product(shape_), false);
  call.buffer("output", product_of_sums(shape_, before_, after_), false);
}

inline void check_concat(call_check& call) {
  const double n_ = call.whole("n", 1, 1048576);
  const double outer_ = call.whole("outer", 0, largest_count);
  const checked_list inner_ = call.list("inner", n_);
  for (int64_t i = 0; call.goes_on(i, n_); i++) call.buffer("input", (outer_ * inner_[i]), false);
  call.buffer("output", (outer_ * sum(inner_)), false);
}

inline void check_tile(call_check& call) {
  const double rank_ = call.whole("rank", 0, 8);
  const checked_list shape_ = call.list("shape", rank_);
  const checked_list repetitions_ = call.list("repetitions", rank_);
  call.buffer("input", product(shape_), false);
  call.buffer("output", (product(shape_) * product(repetitions_)), false);
}

inline void check_fill(call_check& call) {
  const double count_ = call.whole("count", 0, largest_count);
  call.number("value");
  call.buffer("output", count_, false);
}

inline void check_cut_patches(call_check& call) {
  const double n_ = call.whole("n", 0, largest_count);
  const double d_ = call.whole("d", 0, largest_count);
  const double h_ = call.whole("h", 0, largest_count);
  const double w_ = call.whole("w", 0, largest_count);
  const double total_ = call.whole("total", 0, largest_count);
  const double lookups_ = call.whole("lookups", 0, largest_count);
  call.buffer("volumes", total_, false);
  call.buffer("table", (n_ * 13.0), false);
  call.buffer("lookup", (lookups_ * 256.0), (lookups_ == 0.0) != 0.0);
  call.buffer("patches", (((n_ * d_) * h_) * w_), false);
}

inline void check_cut_mix(call_check& call) {
  const double n_ = call.whole("n", 0, largest_count);
  const double d_ = call.whole("d", 0, largest_count);
  const double h_ = call.whole("h", 0, largest_count);
  const double w_ = call.whole("w", 0, largest_count);
  const double sources_ = call.whole("sources", 0, largest_count);
  call.buffer("patches", (((sources_ * d_) * h_) * w_), false);
  call.buffer("table", (n_ * 8.0), false);
  call.buffer("mixes", (((n_ * d_) * h_) * w_), false);
}

// Checks a call of `op`; false where there is no such row.
inline bool check_row(std::int32_t op, call_check& call) {
  switch (op) {
    case VERSEMI_CONV3D_FORWARD: check_conv3d_forward(call); return true;
    case VERSEMI_CONV3D_GRAD_INPUT: check_conv3d_grad_input(call); return true;
    case VERSEMI_CONV3D_GRAD_WEIGHT: check_conv3d_grad_weight(call); return true;
    case VERSEMI_CONV3D_NORM_RELU: check_conv3d_norm_relu(call); return true;
    case VERSEMI_INSTANCE_NORM_RELU: check_instance_norm_relu(call); return true;
    case VERSEMI_INSTANCE_NORM_RELU_GRAD: check_instance_norm_relu_grad(call); return true;
    case VERSEMI_BATCH_NORM_RELU: check_batch_norm_relu(call); return true;
    case VERSEMI_BATCH_NORM_RELU_GRAD: check_batch_norm_relu_grad(call); return true;
    case VERSEMI_DYNAMIC_HEAD: check_dynamic_head(call); return true;
    case VERSEMI_DYNAMIC_HEAD_GRAD: check_dynamic_head_grad(call); return true;
    case VERSEMI_OVERLAP_SUMS: check_overlap_sums(call); return true;
    case VERSEMI_OVERLAP_SUMS_GRAD: check_overlap_sums_grad(call); return true;
    case VERSEMI_AGGREGATE_MAX: check_aggregate_max(call); return true;
    case VERSEMI_AGGREGATE_MAX_GRAD: check_aggregate_max_grad(call); return true;
    case VERSEMI_PACK_GRADIENTS: check_pack_gradients(call); return true;
    case VERSEMI_ADAM_STEP: check_adam_step(call); return true;
    case VERSEMI_SGD_STEP: check_sgd_step(call); return true;
    case VERSEMI_EMA_STEP: check_ema_step(call); return true;
    case VERSEMI_UNARY: check_unary(call); return true;
    case VERSEMI_BINARY: check_binary(call); return true;
    case VERSEMI_REDUCE: check_reduce(call); return true;
    case VERSEMI_MATMUL: check_matmul(call); return true;
    case VERSEMI_TRANSPOSE: check_transpose(call); return true;
    case VERSEMI_SLICE: check_slice(call); return true;
    case VERSEMI_PAD: check_pad(call); return true;
    case VERSEMI_CONCAT: check_concat(call); return true;
    case VERSEMI_TILE: check_tile(call); return true;
    case VERSEMI_FILL: check_fill(call); return true;
    case VERSEMI_CUT_PATCHES: check_cut_patches(call); return true;
    case VERSEMI_CUT_MIX: check_cut_mix(call); return true;
    default: return false;
  }
}

}  // namespace versemi

#endif
