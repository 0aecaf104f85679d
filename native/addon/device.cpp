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

namespace {

constexpr const char* sums = "sums over the devices of several processes";

}  // namespace

std::string device::use_sum_library(const std::string&, std::string* found) {
  *found = "a device without them";
  return "";
}
versemi_status device::make_sum_id(unsigned char*) { return not_here(sums); }
std::unique_ptr<task> device::begin_join(const unsigned char*, int, int, const int32_t*, versemi_status* status) {
  *status = not_here(sums);
  return nullptr;
}
versemi_status device::sum_over_ranks(buffer_pool::buffer_id, int64_t) { return not_here(sums); }
void device::leave_ranks(bool) {}

}  // namespace versemi
