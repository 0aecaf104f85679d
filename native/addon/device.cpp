#include "device.h"

#include "../cpu/context.h"

namespace versemi {
namespace {

versemi_status not_here(const char* what) { return failure(VERSEMI_UNSUPPORTED, "the device has no %s", what); }

}  // namespace

std::unique_ptr<task> device::begin_upload(buffer_pool::buffer_id, const void*, int64_t, versemi_status* status) {
  *status = not_here("uploads beside its kernels");
  return nullptr;
}
versemi_status device::commit(buffer_pool::buffer_id) { return not_here("uploads beside its kernels"); }
std::unique_ptr<task> device::begin_synchronize(versemi_status* status) {
  *status = ok();
  return nullptr;
}
versemi_status device::begin_capture() { return not_here("graphs"); }
versemi_status device::end_capture(int64_t*) { return not_here("graphs"); }
versemi_status device::replay(int64_t) { return not_here("graphs"); }
void device::drop_graph(int64_t) {}

}  // namespace versemi
