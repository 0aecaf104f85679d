/* What crosses the boundary to a device beside the ops themselves (kernel_table.h): status, buffers, rows of kernels. */
#ifndef VERSEMI_DEVICE_ABI_H
#define VERSEMI_DEVICE_ABI_H

#include <cstdint>

extern "C" {

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

/* One row of a device's table. Rows of one op stand together, best first; the first row that does not refuse runs. */
typedef struct versemi_kernel {
  int32_t op;
  const char *name; /* e.g. "direct-avx512" */
  /* NULL if the kernel can run this call, else the reason. The attributes fit the op. */
  const char *(*refuses)(versemi_context *context, const double *attributes, int32_t attribute_count);
  /* Attributes and sizes of buffers were checked (kernel_checks.h). */
  versemi_status (*run)(versemi_context *context, const versemi_buffer *buffers, int32_t buffer_count,
                        const double *attributes, int32_t attribute_count);
} versemi_kernel;

} /* extern "C" */

#endif
