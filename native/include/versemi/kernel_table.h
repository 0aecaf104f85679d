/* The C ABI of a device: op codes, buffers, attributes, status. The meaning of every op, the order of its buffers and
 * attributes, is stated once, in src/tfjs/table/kernel-table.ts; a test compares the codes. */
#ifndef VERSEMI_KERNEL_TABLE_H
#define VERSEMI_KERNEL_TABLE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum versemi_op {
  VERSEMI_CONV3D_FORWARD = 1,
  VERSEMI_CONV3D_GRAD_INPUT = 2,
  VERSEMI_CONV3D_GRAD_WEIGHT = 3,
  VERSEMI_CONV3D_NORM_RELU = 4,
  VERSEMI_INSTANCE_NORM_RELU = 5,
  VERSEMI_INSTANCE_NORM_RELU_GRAD = 6,
  VERSEMI_BATCH_NORM_RELU = 7,
  VERSEMI_BATCH_NORM_RELU_GRAD = 8,
  VERSEMI_DYNAMIC_HEAD = 9,
  VERSEMI_DYNAMIC_HEAD_GRAD = 10,
  VERSEMI_OVERLAP_SUMS = 11,
  VERSEMI_OVERLAP_SUMS_GRAD = 12,
  VERSEMI_AGGREGATE_MAX = 13,
  VERSEMI_AGGREGATE_MAX_GRAD = 14,
  VERSEMI_PACK_GRADIENTS = 15,
  VERSEMI_ADAM_STEP = 16,
  VERSEMI_EMA_STEP = 17,
  VERSEMI_UNARY = 20,
  VERSEMI_BINARY = 21,
  VERSEMI_REDUCE = 22,
  VERSEMI_MATMUL = 23,
  VERSEMI_TRANSPOSE = 24,
  VERSEMI_SLICE = 25,
  VERSEMI_PAD = 26,
  VERSEMI_CONCAT = 27,
  VERSEMI_TILE = 28,
  VERSEMI_FILL = 29,
  VERSEMI_CUT_PATCHES = 30,
  VERSEMI_CUT_MIX = 31
};

enum versemi_status_code {
  VERSEMI_OK = 0,
  VERSEMI_INVALID_ARGUMENT = 1, /* buffers or attributes do not fit the op */
  VERSEMI_UNSUPPORTED = 2,      /* every kernel refused; message holds the reasons */
  VERSEMI_OUT_OF_MEMORY = 3,
  VERSEMI_DEVICE_FAILED = 4
};

/* Status by value: nothing in native code prints, throws across the ABI or aborts. */
typedef struct versemi_status {
  int32_t code;
  char message[252];
} versemi_status;

/* data is NULL and bytes 0 for an absent optional buffer. */
typedef struct versemi_buffer {
  void *data;
  int64_t bytes;
} versemi_buffer;

/* What a kernel may use besides its buffers: the thread pool and scratch memory. Opaque here; see the device. */
typedef struct versemi_context versemi_context;

/* One row of a device's table. Rows of one op stand together, best first, the plain reference last; the first row that
 * does not refuse runs. */
typedef struct versemi_kernel {
  int32_t op;
  const char *name; /* e.g. "direct-avx512" */
  /* NULL if the kernel can run this call, else the reason. */
  const char *(*refuses)(versemi_context *context, const double *attributes, int32_t attribute_count);
  versemi_status (*run)(versemi_context *context, const versemi_buffer *buffers, int32_t buffer_count,
                        const double *attributes, int32_t attribute_count);
} versemi_kernel;

#ifdef __cplusplus
}
#endif
#endif
