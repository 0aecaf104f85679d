// Gradient of the weights of a 3 x 3 x 3 convolution of one input channel: the first layer of the network. All 27 taps of a
// vector of output channels stay in registers (in three turns where there are 16) while the voxels pass by.
#ifndef VERSEMI_CPU_CONV_GRAD_IMAGE_H
#define VERSEMI_CPU_CONV_GRAD_IMAGE_H

#include "conv_grad_call.h"

namespace versemi {
namespace VERSEMI_ISA {

// nullptr, or why this kernel does not serve.
const char* grad_image_refuses(const versemi_conv_problem& problem);

versemi_status run_grad_image(versemi_context* context, const grad_weight_call& call);

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
