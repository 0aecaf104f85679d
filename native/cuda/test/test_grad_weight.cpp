// gradWeight and gradBias of every row that takes a problem, against double: padding, strides, odd sizes, channels that fill
// tiles and that do not, in all precisions and storages.
#include "test/harness.h"

#include "conv/grad_weight_tiles.h"

using namespace versemi_test;

namespace {

void reference(const versemi_conv_problem& p, const std::vector<float>& input, const std::vector<float>& grad_output,
               doubles* grad_weight, doubles* grad_bias) {
  grad_weight->assign(versemi_conv_weight_count(&p), 0);
  grad_bias->assign(p.out_channels, 0);
  int64_t at = 0;
  for (int64_t n = 0; n < p.n; n++)
    for (int64_t d = 0; d < p.out[0]; d++)
      for (int64_t h = 0; h < p.out[1]; h++)
        for (int64_t w = 0; w < p.out[2]; w++, at += p.out_channels) {
          const float* g = grad_output.data() + at;
          for (int64_t co = 0; co < p.out_channels; co++) (*grad_bias)[co] += g[co];
          for (int64_t tap = 0; tap < p.kernel[0] * p.kernel[1] * p.kernel[2]; tap++) {
            const int64_t id = d * p.stride[0] - p.pad[0] + tap / p.kernel[2] / p.kernel[1],
                          ih = h * p.stride[1] - p.pad[1] + tap / p.kernel[2] % p.kernel[1],
                          iw = w * p.stride[2] - p.pad[2] + tap % p.kernel[2];
            if (id < 0 || id >= p.in[0] || ih < 0 || ih >= p.in[1] || iw < 0 || iw >= p.in[2]) continue;
            const float* x = input.data() + (((n * p.in[0] + id) * p.in[1] + ih) * p.in[2] + iw) * p.in_channels;
            double* to = grad_weight->data() + tap * p.in_channels * p.out_channels;
            for (int64_t ci = 0; ci < p.in_channels; ci++)
              for (int64_t co = 0; co < p.out_channels; co++) to[ci * p.out_channels + co] += static_cast<double>(x[ci]) * g[co];
          }
        }
}

const char* name_of(precision operands) {
  return operands == precision::bfloat16 ? ", bf16" : operands == precision::tf32 ? ", tf32" : ", float32";
}

// Operands are made exact in the precision, so that only the order of the sums differs from the reference.
int test(const versemi_conv_problem& p, precision operands, storage format, bool bias) {
  test_context context(operands);
  generator random(static_cast<uint64_t>(p.in_channels * 31 + p.out_channels * 7 + p.in[0] + p.kernel[0]));
  const std::vector<float> input = rounded_to_bf16(random.floats(versemi_conv_input_count(&p), 0.25f)),
                           grad_output = rounded_to_bf16(random.floats(versemi_conv_output_count(&p)));
  doubles grad_weight, grad_bias;
  reference(p, input, grad_output, &grad_weight, &grad_bias);
  const double error = 1e-6 * std::sqrt(static_cast<double>(p.n * p.out[0] * p.out[1] * p.out[2]) + 10);
  cuda_case c("grad_weight " + text_of(p) + name_of(operands), VERSEMI_CONV3D_GRAD_WEIGHT, attributes_of(p));
  c.in(input, format).in(grad_output, format).out(grad_weight, 1e-5, error);
  if (bias) c.out(grad_bias, 1e-5, error);
  else c.none();
  return c.run(context);
}

// In float32 operands are not rounded: numbers that bfloat16 and TF32 cannot hold.
void test_exact(const versemi_conv_problem& p) {
  test_context context(precision::float32);
  generator random(5);
  const std::vector<float> input = random.floats(versemi_conv_input_count(&p)), grad_output = random.floats(versemi_conv_output_count(&p));
  doubles grad_weight, grad_bias;
  reference(p, input, grad_output, &grad_weight, &grad_bias);
  cuda_case("grad_weight, exact operands, " + text_of(p), VERSEMI_CONV3D_GRAD_WEIGHT, attributes_of(p))
      .in(input).in(grad_output).out(grad_weight, 1e-5, 2e-5).out(grad_bias, 1e-5, 2e-5).run(context);
}

// Tile maps: every tap of every voxel of a brick finds its input voxel in the halo; no two voxels share a row; rows that are
// read together lie in different banks; what a block needs fits.
void test_tiles(const versemi_conv_problem& p, bool narrow, int shared_bytes) {
  using versemi::cuda::grad_weight_tiles;
  grad_weight_tiles t{versemi::cuda::grad_weight_shape(p)};
  const std::string what = "tiles of " + text_of(p);
  if (!cut_grad_weight(&t, narrow, shared_bytes, 132)) return check(false, what + ": not cut");
  check(t.table_bytes + 2 * t.stage_bytes <= shared_bytes, what + ": shared memory");
  check(t.own_tiles() <= versemi::cuda::grad_weight_most_tiles && t.groups * t.splits <= versemi::cuda::grad_weight_warps &&
            t.groups * t.own_tiles() * 2 >= t.units, what + ": warps");
  check(static_cast<int64_t>(t.chunks) * t.bricks_per_chunk >= t.all_bricks, what + ": chunks");
  bool found = true;
  for (int d = 0; d < t.brick[0]; d++)
    for (int h = 0; h < t.brick[1]; h++)
      for (int w = 0; w < t.brick[2]; w++)
        for (int tap = 0; tap < t.shape.taps; tap++) {
          const int row = t.window_row(d, h, w) + t.tap_offset(tap);
          const int kw = tap % t.shape.kernel[2], kh = tap / t.shape.kernel[2] % t.shape.kernel[1], kd = tap / t.shape.kernel[2] / t.shape.kernel[1];
          const unsigned expected = static_cast<unsigned>((d * t.shape.stride[0] + kd) << 20 | (h * t.shape.stride[1] + kh) << 10 |
                                                          (w * t.shape.stride[2] + kw));
          found = found && row < t.halo_rows && t.halo_voxel(row) == expected;
        }
  check(found, what + ": halo");
  int voxels = 0;
  for (int row = 0; row < t.halo_rows; row++) voxels += t.halo_voxel(row) != grad_weight_tiles::no_voxel;
  check(voxels == t.halo[0] * t.halo[1] * t.halo[2], what + ": a voxel has two rows or none");
  for (int first = 0; narrow && first + 8 <= 64; first++) {
    bool taken[8] = {false};
    for (int row = first; row < first + 8; row++) {
      bool& bank = taken[row * t.in_pitch / 16 % 8];
      check(!bank, what + ": bank conflict");
      bank = true;
    }
  }
}

versemi_conv_problem uneven() {
  versemi_conv_problem p = {2, {5, 4, 7}, 3, {0, 0, 0}, 5, {1, 2, 3}, {1, 2, 1}, {0, 1, 2}};
  for (int i = 0; i < 3; i++) p.out[i] = (p.in[i] + 2 * p.pad[i] - p.kernel[i]) / p.stride[i] + 1;
  return p;
}

}  // namespace

int main() {
  // Few numbers, and what the tensor cores refuse.
  for (const versemi_conv_problem& p : {problem(1, 1, 1, 1, 1, 1, 1, 1, 0), problem(1, 6, 7, 5, 4, 9, 3, 1, 1), uneven(),
                                        problem(1, 4, 5, 6, 12, 20, 3, 1, 1)})
    for (precision operands : {precision::bfloat16, precision::tf32, precision::float32}) {
      test(p, operands, operands == precision::bfloat16 ? storage::bfloat16 : storage::float32, true);
      test(p, operands, storage::float32, false);
    }
  // At least two rows each: tensor cores (wide layers on Hopper: two kinds of them) and plain.
  for (const versemi_conv_problem& p : {
           problem(1, 9, 10, 11, 1, 16, 3, 1, 1),   // first layer: rows are gathered
           problem(1, 3, 4, 5, 1, 8, 3, 1, 1),
           problem(1, 4, 5, 6, 3, 16, 3, 1, 1),     // first layer, three channels
           problem(2, 5, 6, 7, 16, 8, 1, 1, 0),     // before the head
           problem(1, 3, 4, 5, 32, 16, 1, 1, 0),
           problem(2, 6, 8, 10, 16, 32, 2, 2, 0),   // down
           problem(1, 7, 9, 11, 8, 16, 2, 2, 0),    // a last voxel that no window reaches
           problem(1, 4, 4, 6, 64, 32, 2, 2, 0),    // several blocks of input channels
           problem(2, 5, 6, 7, 8, 8, 3, 1, 1),      // units of several taps in one tile
           problem(1, 6, 6, 6, 16, 16, 3, 1, 1),    // lines of 6
           problem(1, 5, 6, 17, 16, 32, 3, 1, 1),
           problem(1, 7, 4, 9, 32, 32, 3, 1, 1),
           problem(1, 3, 4, 5, 64, 64, 3, 1, 1),
           problem(1, 4, 5, 6, 8, 24, 3, 1, 0),     // no padding; three blocks of 8 columns
           problem(1, 7, 8, 9, 16, 8, 3, 2, 1),     // stride and overlap
           problem(700, 2, 2, 2, 8, 8, 3, 1, 1),    // several bricks per block: both stages in turn
           problem(700, 2, 2, 2, 1, 8, 3, 1, 1),
       }) {
    for (precision operands : {precision::bfloat16, precision::tf32}) {
      const int rows = test(p, operands, operands == precision::bfloat16 ? storage::bfloat16 : storage::float32, true);
      check(rows >= 2, "tensor cores take " + text_of(p));
    }
    test(p, precision::bfloat16, storage::float32, false);
  }
  // The network's layers at batch 8, on devices with much and with little shared memory.
  for (const versemi_conv_problem& p :
       {problem(8, 96, 96, 96, 1, 16, 3, 1, 1), problem(8, 96, 96, 96, 16, 32, 2, 2, 0), problem(8, 48, 48, 48, 32, 32, 3, 1, 1),
        problem(8, 24, 24, 24, 64, 64, 3, 1, 1), problem(8, 12, 12, 12, 128, 128, 3, 1, 1), problem(8, 12, 12, 12, 128, 256, 2, 2, 0),
        problem(8, 6, 6, 6, 256, 256, 3, 1, 1), problem(8, 96, 96, 96, 16, 8, 1, 1, 0), problem(2, 7, 9, 11, 4, 8, 3, 1, 1),
        problem(1, 9, 9, 9, 8, 8, 3, 2, 1)})
    for (bool narrow : {true, false})
      for (int shared_bytes : {227 * 1024, 99 * 1024}) test_tiles(p, narrow, shared_bytes);
  test_exact(problem(1, 5, 6, 7, 8, 8, 3, 1, 1));
  return finish("cuda grad_weight");
}
