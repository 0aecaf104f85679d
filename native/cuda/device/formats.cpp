#include "device/formats.h"

namespace versemi {
namespace cuda {

versemi_status buffer_formats::store_as_float32(buffer& slot) {
  if (slot.memory == nullptr) return buffers_.fill(slot, storage::float32);
  if (slot.format == storage::float32) return ok();
  memory_block* before = slot.memory;
  const storage format_before = slot.format;
  // Captured graphs have the present address baked in.
  const std::int64_t number = buffers_.number_of(slot);
  if (before->holders > 0 || graphs_.uses_buffer(number)) {
    if (graphs_.capturing()) return graphs_.refuse("the format of a buffer that it uses changes");
    graphs_.invalidate_users(number, before);
  }
  versemi_status status = buffers_.fill(slot, storage::float32);
  if (status.code != VERSEMI_OK) {
    slot.memory = before;
    slot.format = format_before;
    return status;
  }
  status = convert(device_, before->data, format_before, slot.memory->data, slot.elements());
  pool_.give(before);
  return status;
}

versemi_status buffer_formats::borrow(buffer& slot, bool output, tensor* wanted, memory_block** converted) {
  *converted = nullptr;
  versemi_status status = ok();
  if (graphs_.capturing() && slot.memory != nullptr) {
    if (output && slot.memory->constant && graphs_.took(*slot.memory))
      return graphs_.refuse("a kernel writes into values that came from the host");
    graphs_.use_buffer(buffers_.number_of(slot), *slot.memory);
  }
  // An input that nothing has filled has undefined contents.
  if (slot.memory == nullptr) status = buffers_.fill(slot, output ? wanted->format : storage::float32);
  else if (output && wanted->format == storage::float32) status = store_as_float32(slot);
  if (status.code != VERSEMI_OK) return status;
  if (slot.format == wanted->format) {
    wanted->data = slot.memory->data;
    return ok();
  }
  const std::int64_t bytes = slot.elements() * bytes_per_element(wanted->format);
  *converted = pool_.take(bytes);
  if (*converted == nullptr) return buffers_.no_memory(bytes);
  wanted->data = (*converted)->data;
  return output ? ok() : convert(device_, slot.memory->data, slot.format, wanted->data, slot.elements());
}

versemi_status buffer_formats::give_back(buffer& slot, std::int64_t written, const tensor& used, memory_block* converted) {
  versemi_status status = ok();
  if (written > 0) status = convert(device_, used.data, used.format, slot.memory->data, written);
  pool_.give(converted);
  return status;
}

}  // namespace cuda
}  // namespace versemi
