// What a source of native/cuda is compiled for: the CUDA toolkit, or the emulator (emulator/README.md) when
// VERSEMI_CUDA_EMULATED is defined.
#ifndef VERSEMI_CUDA_TARGET_H
#define VERSEMI_CUDA_TARGET_H

#if defined(VERSEMI_CUDA_EMULATED)
#include "emulator/emulator.h"
#else
#include <cuda_runtime.h>
#endif

#endif
