// Made by src/tfjs/table/generate.mjs from src/tfjs/table/kernel-table.ts, which says what each op computes. Do not edit.
//
// Whether a call fits its row: attributes, conditions, elements of each buffer. Included by the addon alone, which checks every
// call once before a kernel sees it.
#ifndef VERSEMI_KERNEL_CHECKS_H
#define VERSEMI_KERNEL_CHECKS_H

#include "versemi/call_check.h"
#include "versemi/kernel_table.h"

namespace versemi {

inline void check_conv3d_forward(call_check& call) {
  const double n_value = call.whole("n", 1, 2147483647);
  const double in_d_value = call.whole("inD", 1, 2147483647);
  const double in_h_value = call.whole("inH", 1, 2147483647);
  const double in_w_value = call.whole("inW", 1, 2147483647);
  const double in_c_value = call.whole("inC", 1, 2147483647);
  const double out_d_value = call.whole("outD", 1, 2147483647);
  const double out_h_value = call.whole("outH", 1, 2147483647);
  const double out_w_value = call.whole("outW", 1, 2147483647);
  const double out_c_value = call.whole("outC", 1, 2147483647);
  const double k_d_value = call.whole("kD", 1, 1048576);
  const double k_h_value = call.whole("kH", 1, 1048576);
  const double k_w_value = call.whole("kW", 1, 1048576);
  const double s_d_value = call.whole("sD", 1, 1048576);
  const double s_h_value = call.whole("sH", 1, 1048576);
  const double s_w_value = call.whole("sW", 1, 1048576);
  const double pad_d_value = call.whole("padD", 0, 1048576);
  const double pad_h_value = call.whole("padH", 0, 1048576);
  const double pad_w_value = call.whole("padW", 0, 1048576);
  const double input_size_value = ((((n_value * in_d_value) * in_h_value) * in_w_value) * in_c_value);
  const double weight_size_value = ((((k_d_value * k_h_value) * k_w_value) * in_c_value) * out_c_value);
  const double output_size_value = ((((n_value * out_d_value) * out_h_value) * out_w_value) * out_c_value);
  call.require((pad_d_value < k_d_value), "padD < kD");
  call.require((pad_h_value < k_h_value), "padH < kH");
  call.require((pad_w_value < k_w_value), "padW < kW");
  call.require(((((out_d_value - 1.0) * s_d_value) - pad_d_value) < in_d_value), "(outD - 1) * sD - padD < inD");
  call.require(((((out_h_value - 1.0) * s_h_value) - pad_h_value) < in_h_value), "(outH - 1) * sH - padH < inH");
  call.require(((((out_w_value - 1.0) * s_w_value) - pad_w_value) < in_w_value), "(outW - 1) * sW - padW < inW");
  call.buffer("input", input_size_value, false);
  call.buffer("weight", weight_size_value, false);
  call.buffer("bias", out_c_value, true);
  call.buffer("output", output_size_value, false);
}

inline void check_conv3d_grad_input(call_check& call) {
  const double n_value = call.whole("n", 1, 2147483647);
  const double in_d_value = call.whole("inD", 1, 2147483647);
  const double in_h_value = call.whole("inH", 1, 2147483647);
  const double in_w_value = call.whole("inW", 1, 2147483647);
  const double in_c_value = call.whole("inC", 1, 2147483647);
  const double out_d_value = call.whole("outD", 1, 2147483647);
  const double out_h_value = call.whole("outH", 1, 2147483647);
  const double out_w_value = call.whole("outW", 1, 2147483647);
  const double out_c_value = call.whole("outC", 1, 2147483647);
  const double k_d_value = call.whole("kD", 1, 1048576);
  const double k_h_value = call.whole("kH", 1, 1048576);
  const double k_w_value = call.whole("kW", 1, 1048576);
  const double s_d_value = call.whole("sD", 1, 1048576);
  const double s_h_value = call.whole("sH", 1, 1048576);
  const double s_w_value = call.whole("sW", 1, 1048576);
  const double pad_d_value = call.whole("padD", 0, 1048576);
  const double pad_h_value = call.whole("padH", 0, 1048576);
  const double pad_w_value = call.whole("padW", 0, 1048576);
  const double input_size_value = ((((n_value * in_d_value) * in_h_value) * in_w_value) * in_c_value);
  const double weight_size_value = ((((k_d_value * k_h_value) * k_w_value) * in_c_value) * out_c_value);
  const double output_size_value = ((((n_value * out_d_value) * out_h_value) * out_w_value) * out_c_value);
  call.require((pad_d_value < k_d_value), "padD < kD");
  call.require((pad_h_value < k_h_value), "padH < kH");
  call.require((pad_w_value < k_w_value), "padW < kW");
  call.require(((((out_d_value - 1.0) * s_d_value) - pad_d_value) < in_d_value), "(outD - 1) * sD - padD < inD");
  call.require(((((out_h_value - 1.0) * s_h_value) - pad_h_value) < in_h_value), "(outH - 1) * sH - padH < inH");
  call.require(((((out_w_value - 1.0) * s_w_value) - pad_w_value) < in_w_value), "(outW - 1) * sW - padW < inW");
  call.buffer("gradOutput", output_size_value, false);
  call.buffer("weight", weight_size_value, false);
  call.buffer("bias", in_c_value, true);
  call.buffer("gradInput", input_size_value, false);
}

inline void check_conv3d_grad_weight(call_check& call) {
  const double n_value = call.whole("n", 1, 2147483647);
  const double in_d_value = call.whole("inD", 1, 2147483647);
  const double in_h_value = call.whole("inH", 1, 2147483647);
  const double in_w_value = call.whole("inW", 1, 2147483647);
  const double in_c_value = call.whole("inC", 1, 2147483647);
  const double out_d_value = call.whole("outD", 1, 2147483647);
  const double out_h_value = call.whole("outH", 1, 2147483647);
  const double out_w_value = call.whole("outW", 1, 2147483647);
  const double out_c_value = call.whole("outC", 1, 2147483647);
  const double k_d_value = call.whole("kD", 1, 1048576);
  const double k_h_value = call.whole("kH", 1, 1048576);
  const double k_w_value = call.whole("kW", 1, 1048576);
  const double s_d_value = call.whole("sD", 1, 1048576);
  const double s_h_value = call.whole("sH", 1, 1048576);
  const double s_w_value = call.whole("sW", 1, 1048576);
  const double pad_d_value = call.whole("padD", 0, 1048576);
  const double pad_h_value = call.whole("padH", 0, 1048576);
  const double pad_w_value = call.whole("padW", 0, 1048576);
  const double input_size_value = ((((n_value * in_d_value) * in_h_value) * in_w_value) * in_c_value);
  const double weight_size_value = ((((k_d_value * k_h_value) * k_w_value) * in_c_value) * out_c_value);
  const double output_size_value = ((((n_value * out_d_value) * out_h_value) * out_w_value) * out_c_value);
  call.require((pad_d_value < k_d_value), "padD < kD");
  call.require((pad_h_value < k_h_value), "padH < kH");
  call.require((pad_w_value < k_w_value), "padW < kW");
  call.require(((((out_d_value - 1.0) * s_d_value) - pad_d_value) < in_d_value), "(outD - 1) * sD - padD < inD");
  call.require(((((out_h_value - 1.0) * s_h_value) - pad_h_value) < in_h_value), "(outH - 1) * sH - padH < inH");
  call.require(((((out_w_value - 1.0) * s_w_value) - pad_w_value) < in_w_value), "(outW - 1) * sW - padW < inW");
  call.buffer("input", input_size_value, false);
  call.buffer("gradOutput", output_size_value, false);
  call.buffer("gradWeight", weight_size_value, false);
  call.buffer("gradBias", out_c_value, true);
}

inline void check_conv3d_norm_relu(call_check& call) {
  const double n_value = call.whole("n", 1, 2147483647);
  const double in_d_value = call.whole("inD", 1, 2147483647);
  const double in_h_value = call.whole("inH", 1, 2147483647);
  const double in_w_value = call.whole("inW", 1, 2147483647);
  const double in_c_value = call.whole("inC", 1, 2147483647);
  const double out_d_value = call.whole("outD", 1, 2147483647);
  const double out_h_value = call.whole("outH", 1, 2147483647);
  const double out_w_value = call.whole("outW", 1, 2147483647);
  const double out_c_value = call.whole("outC", 1, 2147483647);
  const double k_d_value = call.whole("kD", 1, 1048576);
  const double k_h_value = call.whole("kH", 1, 1048576);
  const double k_w_value = call.whole("kW", 1, 1048576);
  const double s_d_value = call.whole("sD", 1, 1048576);
  const double s_h_value = call.whole("sH", 1, 1048576);
  const double s_w_value = call.whole("sW", 1, 1048576);
  const double pad_d_value = call.whole("padD", 0, 1048576);
  const double pad_h_value = call.whole("padH", 0, 1048576);
  const double pad_w_value = call.whole("padW", 0, 1048576);
  const double transposed_value = call.whole("transposed", 0, 1);
  call.whole("relu", 0, 1);
  call.number_from("epsilon", 0);
  const double input_size_value = ((((n_value * in_d_value) * in_h_value) * in_w_value) * in_c_value);
  const double weight_size_value = ((((k_d_value * k_h_value) * k_w_value) * in_c_value) * out_c_value);
  const double output_size_value = ((((n_value * out_d_value) * out_h_value) * out_w_value) * out_c_value);
  const double source_size_value = (transposed_value != 0.0 ? output_size_value : input_size_value);
  const double result_size_value = (transposed_value != 0.0 ? input_size_value : output_size_value);
  const double statistics_value = (n_value * (transposed_value != 0.0 ? in_c_value : out_c_value));
  call.require((pad_d_value < k_d_value), "padD < kD");
  call.require((pad_h_value < k_h_value), "padH < kH");
  call.require((pad_w_value < k_w_value), "padW < kW");
  call.require(((((out_d_value - 1.0) * s_d_value) - pad_d_value) < in_d_value), "(outD - 1) * sD - padD < inD");
  call.require(((((out_h_value - 1.0) * s_h_value) - pad_h_value) < in_h_value), "(outH - 1) * sH - padH < inH");
  call.require(((((out_w_value - 1.0) * s_w_value) - pad_w_value) < in_w_value), "(outW - 1) * sW - padW < inW");
  call.buffer("input", source_size_value, false);
  call.buffer("weight", weight_size_value, false);
  call.buffer("skip", result_size_value, true);
  call.buffer("output", result_size_value, false);
  call.buffer("raw", result_size_value, true);
  call.buffer("mean", statistics_value, true);
  call.buffer("rstd", statistics_value, true);
}

inline void check_instance_norm_relu(call_check& call) {
  const double n_value = call.whole("n", 1, largest_count);
  const double voxels_value = call.whole("voxels", 1, largest_count);
  const double channels_value = call.whole("channels", 1, largest_count);
  call.whole("relu", 0, 1);
  call.number_from("epsilon", 0);
  const double all_value = ((n_value * voxels_value) * channels_value);
  const double statistics_value = (n_value * channels_value);
  call.buffer("input", all_value, false);
  call.buffer("output", all_value, false);
  call.buffer("mean", statistics_value, true);
  call.buffer("rstd", statistics_value, true);
}

inline void check_instance_norm_relu_grad(call_check& call) {
  const double n_value = call.whole("n", 1, largest_count);
  const double voxels_value = call.whole("voxels", 1, largest_count);
  const double channels_value = call.whole("channels", 1, largest_count);
  call.whole("relu", 0, 1);
  const double all_value = ((n_value * voxels_value) * channels_value);
  const double statistics_value = (n_value * channels_value);
  call.buffer("gradOutput", all_value, false);
  call.buffer("raw", all_value, false);
  call.buffer("mean", statistics_value, false);
  call.buffer("rstd", statistics_value, false);
  call.buffer("gradRaw", all_value, false);
}

inline void check_batch_norm_relu(call_check& call) {
  const double rows_value = call.whole("rows", 1, largest_count);
  const double channels_value = call.whole("channels", 1, largest_count);
  const double training_value = call.whole("training", 0, 1);
  call.whole("relu", 0, 1);
  call.number_from("epsilon", 0);
  const double all_value = (rows_value * channels_value);
  call.buffer("input", all_value, false);
  call.buffer("gamma", channels_value, false);
  call.buffer("beta", channels_value, false);
  call.buffer("movingMean", channels_value, training_value != 0.0);
  call.buffer("movingVariance", channels_value, training_value != 0.0);
  call.buffer("output", all_value, false);
  call.buffer("mean", channels_value, (1.0 - training_value) != 0.0);
  call.buffer("variance", channels_value, (1.0 - training_value) != 0.0);
}

inline void check_batch_norm_relu_grad(call_check& call) {
  const double rows_value = call.whole("rows", 1, largest_count);
  const double channels_value = call.whole("channels", 1, largest_count);
  call.whole("relu", 0, 1);
  call.number_from("epsilon", 0);
  const double all_value = (rows_value * channels_value);
  call.buffer("gradOutput", all_value, false);
  call.buffer("input", all_value, false);
  call.buffer("gamma", channels_value, false);
  call.buffer("beta", channels_value, false);
  call.buffer("mean", channels_value, false);
  call.buffer("variance", channels_value, false);
  call.buffer("gradInput", all_value, false);
  call.buffer("gradGamma", channels_value, false);
  call.buffer("gradBeta", channels_value, false);
}

inline void check_dynamic_head(call_check& call) {
  const double n_value = call.whole("n", 1, largest_count);
  const double prompts_value = call.whole("prompts", 1, largest_count);
  const double voxels_value = call.whole("voxels", 1, largest_count);
  const double width_value = call.whole("width", 1, 4096);
  const double feature_size_value = ((n_value * voxels_value) * width_value);
  const double parameter_size_value = ((n_value * prompts_value) * ((((2.0 * width_value) * width_value) + (4.0 * width_value)) + 2.0));
  const double logit_size_value = ((n_value * prompts_value) * voxels_value);
  call.buffer("features", feature_size_value, false);
  call.buffer("parameters", parameter_size_value, false);
  call.buffer("logits", logit_size_value, false);
}

inline void check_dynamic_head_grad(call_check& call) {
  const double n_value = call.whole("n", 1, largest_count);
  const double prompts_value = call.whole("prompts", 1, largest_count);
  const double voxels_value = call.whole("voxels", 1, largest_count);
  const double width_value = call.whole("width", 1, 4096);
  const double feature_size_value = ((n_value * voxels_value) * width_value);
  const double parameter_size_value = ((n_value * prompts_value) * ((((2.0 * width_value) * width_value) + (4.0 * width_value)) + 2.0));
  const double logit_size_value = ((n_value * prompts_value) * voxels_value);
  call.buffer("gradLogits", logit_size_value, false);
  call.buffer("features", feature_size_value, false);
  call.buffer("parameters", parameter_size_value, false);
  call.buffer("gradFeatures", feature_size_value, false);
  call.buffer("gradParameters", parameter_size_value, false);
}

inline void check_overlap_sums(call_check& call) {
  const double count_value = call.whole("count", 0, largest_count);
  call.buffer("logits", count_value, false);
  call.buffer("target", count_value, false);
  call.buffer("mask", count_value, true);
  call.buffer("sums", 5.0, false);
}

inline void check_overlap_sums_grad(call_check& call) {
  const double count_value = call.whole("count", 0, largest_count);
  call.buffer("gradSums", 5.0, false);
  call.buffer("logits", count_value, false);
  call.buffer("target", count_value, false);
  call.buffer("mask", count_value, true);
  call.buffer("gradLogits", count_value, true);
  call.buffer("gradTarget", count_value, true);
}

inline void check_aggregate_max(call_check& call) {
  const double n_value = call.whole("n", 1, largest_count);
  const double prompts_value = call.whole("prompts", 1, largest_count);
  const double voxels_value = call.whole("voxels", 1, largest_count);
  const double real_value = call.whole("real", 1, largest_count);
  const double logit_size_value = ((n_value * prompts_value) * voxels_value);
  const double aggregate_size_value = (n_value * voxels_value);
  call.require((real_value <= prompts_value), "real <= prompts");
  call.buffer("logits", logit_size_value, false);
  call.buffer("aggregate", aggregate_size_value, false);
}

inline void check_aggregate_max_grad(call_check& call) {
  const double n_value = call.whole("n", 1, largest_count);
  const double prompts_value = call.whole("prompts", 1, largest_count);
  const double voxels_value = call.whole("voxels", 1, largest_count);
  const double real_value = call.whole("real", 1, largest_count);
  const double logit_size_value = ((n_value * prompts_value) * voxels_value);
  const double aggregate_size_value = (n_value * voxels_value);
  call.require((real_value <= prompts_value), "real <= prompts");
  call.buffer("gradAggregate", aggregate_size_value, false);
  call.buffer("logits", logit_size_value, false);
  call.buffer("gradLogits", logit_size_value, false);
}

inline void check_pack_gradients(call_check& call) {
  const double n_value = call.whole("n", 0, 1048576);
  const checked_list size_value = call.list("size", n_value);
  for (int64_t i = 0; call.goes_on(i, n_value); i++) call.buffer("gradient", size_value[i], true);
  call.buffer("arena", sum(size_value), false);
  call.buffer("squaredNorm", 1.0, false);
}

inline void check_adam_step(call_check& call) {
  const double n_value = call.whole("n", 0, 1048576);
  call.number("learningRate");
  call.number("beta1");
  call.number("beta2");
  call.number("epsilon");
  call.number("weightDecay");
  call.whole("step", 1, largest_count);
  call.number("gradientScale");
  const checked_list size_value = call.list("size", n_value);
  call.buffer("arena", sum(size_value), false);
  call.buffer("firstMoment", sum(size_value), false);
  call.buffer("secondMoment", sum(size_value), false);
  for (int64_t i = 0; call.goes_on(i, n_value); i++) call.buffer("parameter", size_value[i], false);
}

inline void check_ema_step(call_check& call) {
  const double n_value = call.whole("n", 0, 1048576);
  call.number("decay");
  const checked_list size_value = call.list("size", n_value);
  for (int64_t i = 0; call.goes_on(i, n_value); i++) call.buffer("parameter", size_value[i], false);
  call.buffer("average", sum(size_value), false);
}

inline void check_unary(call_check& call) {
  call.whole("kind", 0, 23);
  const double count_value = call.whole("count", 0, largest_count);
  call.number("parameterA");
  call.number("parameterB");
  call.buffer("input", count_value, false);
  call.buffer("output", count_value, false);
}

inline void check_binary(call_check& call) {
  call.whole("kind", 0, 8);
  const double rank_value = call.whole("rank", 0, 8);
  const checked_list shape_value = call.list("shape", rank_value);
  const checked_list a_stride_value = call.list("aStride", rank_value);
  const checked_list b_stride_value = call.list("bStride", rank_value);
  call.buffer("a", extent(shape_value, a_stride_value), false);
  call.buffer("b", extent(shape_value, b_stride_value), false);
  call.buffer("output", product(shape_value), false);
}

inline void check_reduce(call_check& call) {
  call.whole("kind", 0, 4);
  const double outer_value = call.whole("outer", 0, largest_count);
  const double reduced_value = call.whole("reduced", 0, largest_count);
  const double inner_value = call.whole("inner", 0, largest_count);
  call.buffer("input", ((outer_value * reduced_value) * inner_value), false);
  call.buffer("output", (outer_value * inner_value), false);
}

inline void check_matmul(call_check& call) {
  const double batch_value = call.whole("batch", 0, largest_count);
  const double m_value = call.whole("m", 0, largest_count);
  const double k_value = call.whole("k", 0, largest_count);
  const double n_value = call.whole("n", 0, largest_count);
  call.whole("transposeA", 0, 1);
  call.whole("transposeB", 0, 1);
  const double a_step_value = call.whole("aStep", 0, largest_count);
  const double b_step_value = call.whole("bStep", 0, largest_count);
  call.buffer("a", strided(batch_value, a_step_value, (m_value * k_value)), false);
  call.buffer("b", strided(batch_value, b_step_value, (k_value * n_value)), false);
  call.buffer("output", ((batch_value * m_value) * n_value), false);
}

inline void check_transpose(call_check& call) {
  const double rank_value = call.whole("rank", 0, 8);
  const checked_list shape_value = call.list("shape", rank_value);
  const checked_list permutation_value = call.list("permutation", rank_value);
  call.require(is_permutation(permutation_value), "isPermutation(permutation)");
  call.buffer("input", product(shape_value), false);
  call.buffer("output", product(shape_value), false);
}

inline void check_slice(call_check& call) {
  const double rank_value = call.whole("rank", 0, 8);
  const checked_list shape_value = call.list("shape", rank_value);
  const checked_list begin_value = call.list("begin", rank_value);
  const checked_list size_value = call.list("size", rank_value);
  call.require(is_within(begin_value, size_value, shape_value), "isWithin(begin, size, shape)");
  call.buffer("input", product(shape_value), false);
  call.buffer("output", product(size_value), false);
}

inline void check_pad(call_check& call) {
  const double rank_value = call.whole("rank", 0, 8);
  const checked_list shape_value = call.list("shape", rank_value);
  const checked_list before_value = call.list("before", rank_value);
  const checked_list after_value = call.list("after", rank_value);
  call.number("value");
  call.buffer("input", product(shape_value), false);
  call.buffer("output", product_of_sums(shape_value, before_value, after_value), false);
}

inline void check_concat(call_check& call) {
  const double n_value = call.whole("n", 1, 1048576);
  const double outer_value = call.whole("outer", 0, largest_count);
  const checked_list inner_value = call.list("inner", n_value);
  for (int64_t i = 0; call.goes_on(i, n_value); i++) call.buffer("input", (outer_value * inner_value[i]), false);
  call.buffer("output", (outer_value * sum(inner_value)), false);
}

inline void check_tile(call_check& call) {
  const double rank_value = call.whole("rank", 0, 8);
  const checked_list shape_value = call.list("shape", rank_value);
  const checked_list repetitions_value = call.list("repetitions", rank_value);
  call.buffer("input", product(shape_value), false);
  call.buffer("output", (product(shape_value) * product(repetitions_value)), false);
}

inline void check_fill(call_check& call) {
  const double count_value = call.whole("count", 0, largest_count);
  call.number("value");
  call.buffer("output", count_value, false);
}

inline void check_cut_patches(call_check& call) {
  const double n_value = call.whole("n", 0, largest_count);
  const double d_value = call.whole("d", 0, largest_count);
  const double h_value = call.whole("h", 0, largest_count);
  const double w_value = call.whole("w", 0, largest_count);
  const double total_value = call.whole("total", 0, largest_count);
  const double lookups_value = call.whole("lookups", 0, largest_count);
  call.buffer("volumes", total_value, false);
  call.buffer("table", (n_value * 13.0), false);
  call.buffer("lookup", (lookups_value * 256.0), (lookups_value == 0.0) != 0.0);
  call.buffer("patches", (((n_value * d_value) * h_value) * w_value), false);
}

inline void check_cut_mix(call_check& call) {
  const double n_value = call.whole("n", 0, largest_count);
  const double d_value = call.whole("d", 0, largest_count);
  const double h_value = call.whole("h", 0, largest_count);
  const double w_value = call.whole("w", 0, largest_count);
  const double sources_value = call.whole("sources", 0, largest_count);
  call.buffer("patches", (((sources_value * d_value) * h_value) * w_value), false);
  call.buffer("table", (n_value * 8.0), false);
  call.buffer("mixes", (((n_value * d_value) * h_value) * w_value), false);
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
