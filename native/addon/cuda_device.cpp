#include "cuda_device.h"

#include <cstring>
#include <vector>

#include "../cpu/context.h"
#include "check.h"

#if defined(VERSEMI_HAS_CUDA)
#include "cuda/device/session.h"
#endif

namespace versemi {

#if defined(VERSEMI_HAS_CUDA)

namespace {

using buffer_id = buffer_pool::buffer_id;

class cuda_device final : public device {
 public:
  explicit cuda_device(std::unique_ptr<cuda::session> session) : session_(std::move(session)) {}

  versemi_status allocate(int64_t bytes, buffer_id* id) override { return session_->allocate(bytes, id); }
  versemi_status release(buffer_id id) override { return session_->release(id); }
  versemi_status transfer(buffer_id id, void* host, int64_t bytes, bool to_device) override {
    return to_device ? session_->transfers().write(id, host, bytes)
                     : after_sums(*session_, session_->transfers().read(id, host, bytes));
  }

  versemi_status run(int32_t op, const double* ids, int32_t buffer_count, const double* attributes,
                     int32_t attribute_count) override {
    const size_t count = static_cast<size_t>(buffer_count);
    ids_.resize(count);
    sizes_.resize(count);
    elements_.assign(count, 0);
    for (size_t i = 0; i < count; i++) {
      const double id = ids[i];
      ids_[i] = id >= 0 && id < 9007199254740992.0 ? static_cast<int64_t>(id) : -1;
      int64_t bytes = 0;
      if (!session_->find(ids_[i], &bytes))
        return failure(VERSEMI_INVALID_ARGUMENT, "buffer %.0f, number %d of the call, is not live (released before?)", id,
                       static_cast<int>(i));
      // The checks ask whether a buffer is there and how large it is, not where.
      static char somewhere;
      sizes_[i] = {ids_[i] == 0 ? nullptr : &somewhere, bytes};
    }
    const versemi_status status =
        check_call(op, sizes_.data(), buffer_count, attributes, attribute_count, elements_.data());
    if (status.code != VERSEMI_OK || !writes_anything(op, elements_.data(), buffer_count)) return status;
    return session_->run(op, ids_.data(), elements_.data(), buffer_count, attributes, attribute_count);
  }

  versemi_status refuses(int32_t op, const double* attributes, int32_t attribute_count) override {
    const versemi_status status = check_attributes(op, attributes, attribute_count);
    return status.code != VERSEMI_OK ? status : session_->refuses(op, attributes, attribute_count);
  }

  versemi_status rows(int32_t op, const double* attributes, int32_t attribute_count, std::vector<row_answer>* answers) override {
    const versemi_status status = check_attributes(op, attributes, attribute_count);
    if (status.code == VERSEMI_OK) *answers = session_->rows(op, attributes, attribute_count);
    return status;
  }
  void use_row(const std::string& name) override { session_->use_row(name); }
  std::vector<std::string> row_names() const override {
    std::vector<std::string> names;
    for (int32_t op = 0; op <= largest_op; op++) {
      int32_t count = 0;
      const cuda::kernel* const* table = cuda::rows_of(op, &count);
      for (int32_t i = 0; i < count; i++) add_row_name(table[i]->name, &names);
    }
    return names;
  }

  memory_use use() const override {
    const cuda::device_memory_use memory = session_->memory();
    memory_use use;
    use.buffers = memory.buffers;
    use.bytes_in_use = memory.in_use;
    use.bytes_pooled = memory.pooled;
    use.bytes_peak = memory.peak;
    return use;
  }
  void trim() override { session_->trim(); }

  std::string isa() const override { return ""; }
  int threads() const override { return 1; }
  std::string description() const override { return session_->description(); }

  std::string precision() const override {
    static const char* const names[] = {"float32", "tf32", "bfloat16"};
    const cuda::precision operands = session_->operands();
    return names[operands == cuda::precision::float32 ? 0 : operands == cuda::precision::tf32 ? 1 : 2];
  }

  bool asynchronous() const override { return true; }

  std::unique_ptr<task> begin_read(buffer_id id, void* host, int64_t bytes, versemi_status* status) override {
    auto reading = std::make_unique<read_task>(session_, host);
    *status = session_->transfers().begin_read(id, bytes, &reading->read);
    return status->code == VERSEMI_OK ? std::move(reading) : nullptr;
  }

  std::unique_ptr<task> begin_upload(buffer_id id, const void* host, int64_t bytes, versemi_status* status) override {
    auto uploading = std::make_unique<upload_task>(session_);
    *status = session_->transfers().begin_upload(id, host, bytes, &uploading->job);
    return status->code == VERSEMI_OK ? std::move(uploading) : nullptr;
  }
  versemi_status commit(buffer_id id) override { return session_->transfers().commit(id); }

  std::unique_ptr<task> begin_synchronize(versemi_status* status) override {
    auto waiting = std::make_unique<read_task>(session_, nullptr);
    *status = session_->transfers().begin_read(0, 0, &waiting->read);
    return status->code == VERSEMI_OK ? std::move(waiting) : nullptr;
  }

  versemi_status begin_capture() override { return session_->graphs().begin_capture(); }
  versemi_status end_capture(int64_t* graph) override { return session_->graphs().end_capture(graph); }
  versemi_status replay(int64_t graph) override { return session_->graphs().replay(graph); }
  void drop_graph(int64_t graph) override { session_->graphs().drop(graph); }

  std::string use_sum_library(const std::string& file, std::string* found) override {
    return session_->sums().use_library(file, found);
  }
  static_assert(sum_id_bytes == cuda::nccl_unique_id_bytes, "the id is NCCL's");
  versemi_status make_sum_id(unsigned char* id) override {
    cuda::nccl_unique_id made;
    const versemi_status status = session_->sums().make_id(&made);
    std::memcpy(id, made.internal, sizeof made.internal);
    return status;
  }
  std::unique_ptr<task> begin_join(const unsigned char* id, int rank, int ranks, const int32_t* alarm, versemi_status*) override {
    auto joining = std::make_unique<join_task>(session_);
    std::memcpy(joining->id.internal, id, sizeof joining->id.internal);
    joining->rank = rank;
    joining->ranks = ranks;
    joining->alarm = alarm;
    return joining;
  }
  versemi_status sum_over_ranks(buffer_id id, int64_t elements) override { return session_->sum_over_ranks(id, elements); }
  void leave_ranks(bool at_once) override { session_->sums().leave(at_once); }

 private:
  // A read that a sum had to come before is none where the sum was given up.
  static versemi_status after_sums(const cuda::session& session, const versemi_status& read) {
    return read.code != VERSEMI_OK ? read : session.sums().state();
  }

  // The session outlives its tasks: each has a share in it.
  struct read_task final : task {
    read_task(std::shared_ptr<cuda::session> owner, void* to) : session(std::move(owner)), host(to) {}
    versemi_status wait() override { return after_sums(*session, session->transfers().wait_read(read, host)); }
    void end(bool) override { session->transfers().end_read(read); }
    std::shared_ptr<cuda::session> session;
    void* host;
    cuda::host_read read;
  };
  struct upload_task final : task {
    explicit upload_task(std::shared_ptr<cuda::session> owner) : session(std::move(owner)) {}
    versemi_status wait() override { return session->transfers().run_upload(job); }
    void end(bool done) override { session->transfers().end_upload(job, done); }
    std::shared_ptr<cuda::session> session;
    cuda::upload job;
  };
  struct join_task final : task {
    explicit join_task(std::shared_ptr<cuda::session> owner) : session(std::move(owner)) {}
    versemi_status wait() override { return session->sums().join(id, rank, ranks, alarm); }
    void end(bool) override {}
    std::shared_ptr<cuda::session> session;
    cuda::nccl_unique_id id;
    int rank = 0, ranks = 1;
    const int32_t* alarm = nullptr;
  };

  std::shared_ptr<cuda::session> session_;
  std::vector<int64_t> ids_, elements_;
  std::vector<versemi_buffer> sizes_;
};

}  // namespace

std::string cuda_unavailable() { return cuda::unavailable_reason(); }

const char* cuda_architectures() { return cuda::architectures(); }

std::unique_ptr<device> make_cuda_device(const cuda_settings& settings, std::string* reason) {
  cuda::session_settings wanted;
  if (settings.exact || settings.precision == "float32") wanted.operands = cuda::precision::float32;
  else if (settings.precision == "tf32") wanted.operands = cuda::precision::tf32;
  else if (settings.precision != "" && settings.precision != "bfloat16") {
    *reason = "the device cuda computes in bfloat16, tf32 or float32, not in " + settings.precision;
    return nullptr;
  }
  if (settings.memory_limit_bytes > 0) wanted.memory_limit_bytes = settings.memory_limit_bytes;
  wanted.poison = settings.poison;
  wanted.blocking = settings.blocking;
  wanted.forbidden_rows = settings.forbidden_rows;
  *reason = cuda::unavailable_reason();
  if (!reason->empty()) return nullptr;
  versemi_status status = ok();
  std::unique_ptr<cuda::session> session = cuda::session::create(wanted, &status);
  if (session == nullptr) {
    *reason = status.message;
    return nullptr;
  }
  return std::make_unique<cuda_device>(std::move(session));
}

#else

std::string cuda_unavailable() {
  return "this addon was built without CUDA (no nvcc was found, or VERSEMI_CUDA=0). Install the CUDA toolkit, put nvcc on the "
         "PATH, and run: VERSEMI_BUILD_ADDON=1 node node_modules/versemi/native/install.mjs (in a clone: npm run install).";
}

const char* cuda_architectures() { return "none"; }

std::unique_ptr<device> make_cuda_device(const cuda_settings&, std::string* reason) {
  *reason = cuda_unavailable();
  return nullptr;
}

#endif

}  // namespace versemi
