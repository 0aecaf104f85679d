// The N-API boundary: unpacks arguments, checks them, calls the kernel table, returns a status code. No arithmetic.
// src/tfjs/devices/native-device.ts is its only caller. C++ exceptions end here (see `contained`); JavaScript ones are thrown for
// wrong argument types only, which no user can cause.

#include <napi.h>

#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "cuda_device.h"
#include "device.h"
#include "session.h"
#include "waiter.h"
#include "../cpu/context.h"

namespace {

using versemi::session;
using versemi::task;
using versemi::waiter;

int64_t view_bytes(napi_env env, napi_value value, void** data) {
  bool is_typed_array = false;
  if (napi_is_typedarray(env, value, &is_typed_array) != napi_ok) return -1;
  size_t length = 0;
  if (is_typed_array) {
    static constexpr int64_t element_bytes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
    napi_typedarray_type type;
    if (napi_get_typedarray_info(env, value, &type, &length, data, nullptr, nullptr) != napi_ok) return -1;
    if (static_cast<size_t>(type) >= sizeof element_bytes / sizeof element_bytes[0]) return -1;
    return static_cast<int64_t>(length) * element_bytes[type];
  }
  bool is_data_view = false;
  if (napi_is_dataview(env, value, &is_data_view) != napi_ok || !is_data_view) return -1;
  if (napi_get_dataview_info(env, value, &length, data, nullptr, nullptr) != napi_ok) return -1;
  return static_cast<int64_t>(length);
}

bool get_number(napi_env env, napi_value value, double* number) {
  return napi_get_value_double(env, value, number) == napi_ok;
}

class Device : public Napi::ObjectWrap<Device> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "NativeDevice",
                       {InstanceMethod<&Device::allocate>("allocate"), InstanceMethod<&Device::release>("release"),
                        InstanceMethod<&Device::write>("write"), InstanceMethod<&Device::read>("read"),
                        InstanceMethod<&Device::run>("run"), InstanceMethod<&Device::refuses>("refuses"),
                        InstanceMethod<&Device::rows>("rows"), InstanceMethod<&Device::use_row>("useRow"),
                        InstanceMethod<&Device::memory>("memory"), InstanceMethod<&Device::trim>("trim"),
                        InstanceMethod<&Device::describe>("describe"), InstanceMethod<&Device::message>("message"),
                        InstanceMethod<&Device::read_later>("readLater"), InstanceMethod<&Device::upload>("upload"),
                        InstanceMethod<&Device::commit>("commit"), InstanceMethod<&Device::wait>("wait"),
                        InstanceMethod<&Device::begin_capture>("beginCapture"),
                        InstanceMethod<&Device::end_capture>("endCapture"), InstanceMethod<&Device::replay>("replay"),
                        InstanceMethod<&Device::drop_graph>("dropGraph"),
                        InstanceMethod<&Device::use_sum_library>("useSumLibrary"),
                        InstanceMethod<&Device::make_sum_id>("makeSumId"), InstanceMethod<&Device::join_ranks>("joinRanks"),
                        InstanceMethod<&Device::sum_over_ranks>("sumOverRanks"),
                        InstanceMethod<&Device::leave_ranks>("leaveRanks"),
                        InstanceMethod<&Device::dispose>("dispose")});
  }

  // ({ device, threads, memoryLimitBytes, poison, exact, precision, blocking, forbiddenRows }), all given by the caller
  explicit Device(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Device>(info) {
    const Napi::Object options = info[0].IsObject() ? info[0].As<Napi::Object>() : Napi::Object::New(info.Env());
    const auto number = [&](const char* name, double otherwise) {
      const Napi::Value value = options.Get(name);
      return value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : otherwise;
    };
    const auto text = [&](const char* name) {
      const Napi::Value value = options.Get(name);
      return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
    };
    try {
      if (text("device") == "cuda") {
        versemi::cuda_settings settings;
        settings.precision = text("precision");
        settings.forbidden_rows = text("forbiddenRows");
        settings.exact = options.Get("exact").ToBoolean().Value();
        settings.memory_limit_bytes = static_cast<int64_t>(number("memoryLimitBytes", 0));
        settings.poison = options.Get("poison").ToBoolean().Value();
        settings.blocking = options.Get("blocking").ToBoolean().Value();
        std::string reason;
        session_ = versemi::make_cuda_device(settings, &reason);
        if (session_ == nullptr) Napi::Error::New(info.Env(), reason).ThrowAsJavaScriptException();
      } else {
        session_ = std::make_unique<session>(static_cast<int>(number("threads", 0)),
                                             static_cast<int64_t>(number("memoryLimitBytes", 9e15)),
                                             options.Get("poison").ToBoolean().Value(),
                                             options.Get("exact").ToBoolean().Value(), text("forbiddenRows"));
      }
    } catch (const std::exception& error) {
      Napi::Error::New(info.Env(), error.what()).ThrowAsJavaScriptException();
    }
  }

 private:
  // allocate(bytes): id, or 0 (message() says why)
  Napi::Value allocate(const Napi::CallbackInfo& info) {
    versemi::buffer_pool::buffer_id id = 0;
    contained([&] {
      double bytes = 0;
      if (!get_number(info.Env(), info[0], &bytes) || !(bytes >= 0 && bytes <= 9e15)) return wrong("bytes");
      return session_->allocate(static_cast<int64_t>(bytes), &id);
    });
    return Napi::Number::New(info.Env(), static_cast<double>(id));
  }

  // release(id): status
  Napi::Value release(const Napi::CallbackInfo& info) {
    return status(info, contained([&] {
                    double id = 0;
                    if (!get_number(info.Env(), info[0], &id)) return wrong("id");
                    return session_->release(static_cast<int64_t>(id));
                  }));
  }

  // write(id, view): status; copies the whole view to the start of the buffer
  Napi::Value write(const Napi::CallbackInfo& info) {
    return status(info, contained([&] { return transfer(info, true); }));
  }

  // read(id, view): status; fills the whole view from the start of the buffer
  Napi::Value read(const Napi::CallbackInfo& info) {
    return status(info, contained([&] { return transfer(info, false); }));
  }

  versemi_status transfer(const Napi::CallbackInfo& info, bool to_device) {
    double id = 0;
    void* data = nullptr;
    if (!get_number(info.Env(), info[0], &id)) return wrong("id");
    const int64_t bytes = view_bytes(info.Env(), info[1], &data);
    if (bytes < 0) return wrong("view");
    return session_->transfer(static_cast<int64_t>(id), data, bytes, to_device);
  }

  // run(op, bufferCount, attributeCount, call): status; call is a Float64Array that starts with the buffer ids,
  // followed by the attributes. One packed array costs one look-up; see the README for what the alternatives cost.
  Napi::Value run(const Napi::CallbackInfo& info) {
    return status(info, contained([&] {
                    const double* ids = nullptr;
                    int32_t op = 0, buffers = 0, attributes = 0;
                    if (!packed_call(info, &op, &buffers, &attributes, &ids)) return wrong("call");
                    return session_->run(op, ids, buffers, ids + buffers, attributes);
                  }));
  }

  // refuses(op, 0, attributeCount, attributes): null or the reason
  Napi::Value refuses(const Napi::CallbackInfo& info) {
    const versemi_status result = contained([&] {
      const double* attributes = nullptr;
      int32_t op = 0, buffers = 0, count = 0;
      if (!packed_call(info, &op, &buffers, &count, &attributes)) return wrong("call");
      return session_->refuses(op, attributes, count);
    });
    if (result.code == VERSEMI_OK) return info.Env().Null();
    return Napi::String::New(info.Env(), result.message);
  }

  // rows(op, 0, attributeCount, attributes): [{ name, reason | null }], best first; empty where the attributes are refused
  Napi::Value rows(const Napi::CallbackInfo& info) {
    std::vector<versemi::row_answer> answers;
    contained([&] {
      const double* attributes = nullptr;
      int32_t op = 0, buffers = 0, count = 0;
      if (!packed_call(info, &op, &buffers, &count, &attributes)) return wrong("call");
      return session_->rows(op, attributes, count, &answers);
    });
    Napi::Array result = Napi::Array::New(info.Env(), answers.size());
    for (uint32_t i = 0; i < answers.size(); i++) {
      Napi::Object row = Napi::Object::New(info.Env());
      row.Set("name", answers[i].name);
      if (answers[i].reason == nullptr) row.Set("reason", info.Env().Null());
      else row.Set("reason", answers[i].reason);
      result.Set(i, row);
    }
    return result;
  }

  // useRow(name): status; only the row of this name from now on, '': any again
  Napi::Value use_row(const Napi::CallbackInfo& info) {
    return status(info, contained([&] {
                    if (!info[0].IsString()) return wrong("name");
                    session_->use_row(info[0].As<Napi::String>().Utf8Value());
                    return versemi::ok();
                  }));
  }

  bool packed_call(const Napi::CallbackInfo& info, int32_t* op, int32_t* buffers, int32_t* attributes,
                   const double** call) {
    const napi_env env = info.Env();
    napi_typedarray_type type;
    size_t length = 0;
    void* data = nullptr;
    if (napi_get_value_int32(env, info[0], op) != napi_ok || napi_get_value_int32(env, info[1], buffers) != napi_ok ||
        napi_get_value_int32(env, info[2], attributes) != napi_ok ||
        napi_get_typedarray_info(env, info[3], &type, &length, &data, nullptr, nullptr) != napi_ok) {
      return false;
    }
    *call = static_cast<const double*>(data);
    return type == napi_float64_array && *buffers >= 0 && *attributes >= 0 &&
           static_cast<size_t>(*buffers) + static_cast<size_t>(*attributes) <= length;
  }

  // memory(): [buffers, bytesInUse, bytesPooled, bytesPeak]
  Napi::Value memory(const Napi::CallbackInfo& info) {
    versemi::memory_use use;
    contained([&] {
      use = session_->use();
      return versemi::ok();
    });
    Napi::Array result = Napi::Array::New(info.Env(), 4);
    uint32_t index = 0;
    for (const int64_t value : {use.buffers, use.bytes_in_use, use.bytes_pooled, use.bytes_peak}) {
      result.Set(index++, Napi::Number::New(info.Env(), static_cast<double>(value)));
    }
    return result;
  }

  Napi::Value trim(const Napi::CallbackInfo& info) {
    return status(info, contained([&] {
                    session_->trim();
                    return versemi::ok();
                  }));
  }

  // readLater(id, view): promise of null, or [status, message]; fills the whole view
  Napi::Value read_later(const Napi::CallbackInfo& info) {
    return begin(info, info[1], [&](versemi_status* result) {
      double id = 0;
      void* data = nullptr;
      const int64_t bytes = view_bytes(info.Env(), info[1], &data);
      if (!get_number(info.Env(), info[0], &id) || bytes < 0) *result = wrong("view");
      return result->code != VERSEMI_OK ? nullptr : session_->begin_read(static_cast<int64_t>(id), data, bytes, result);
    });
  }

  // upload(id, view): promise of null, or [status, message]; the view must not change before. See commit.
  Napi::Value upload(const Napi::CallbackInfo& info) {
    return begin(info, info[1], [&](versemi_status* result) {
      double id = 0;
      void* data = nullptr;
      const int64_t bytes = view_bytes(info.Env(), info[1], &data);
      if (!get_number(info.Env(), info[0], &id) || bytes < 0) *result = wrong("view");
      return result->code != VERSEMI_OK ? nullptr : session_->begin_upload(static_cast<int64_t>(id), data, bytes, result);
    });
  }

  // commit(id): status; what was uploaded becomes the contents of the buffer
  Napi::Value commit(const Napi::CallbackInfo& info) {
    return status(info, contained([&] {
                    double id = 0;
                    if (!get_number(info.Env(), info[0], &id)) return wrong("id");
                    return session_->commit(static_cast<int64_t>(id));
                  }));
  }

  // wait(): promise of null, or [status, message], when everything that was begun is done
  Napi::Value wait(const Napi::CallbackInfo& info) {
    return begin(info, info.Env().Null(), [&](versemi_status* result) { return session_->begin_synchronize(result); });
  }

  template <typename Begin>
  Napi::Value begin(const Napi::CallbackInfo& info, Napi::Value view, Begin start) {
    std::unique_ptr<task> begun;
    const versemi_status result = contained([&] {
      versemi_status status = versemi::ok();
      begun = start(&status);
      return status;
    });
    if (begun == nullptr) return waiter::settled(info.Env(), result);
    waiter* waiting = new waiter(info.Env(), std::move(begun), view);  // deletes itself when it is done
    const Napi::Promise promise = waiting->promise();
    waiting->Queue();
    return promise;
  }

  // beginCapture(): status
  Napi::Value begin_capture(const Napi::CallbackInfo& info) {
    return status(info, contained([&] { return session_->begin_capture(); }));
  }

  // endCapture(): the graph, or 0 (message() says why the work cannot be one)
  Napi::Value end_capture(const Napi::CallbackInfo& info) {
    int64_t graph = 0;
    contained([&] { return session_->end_capture(&graph); });
    return Napi::Number::New(info.Env(), static_cast<double>(graph));
  }

  // replay(graph): status
  Napi::Value replay(const Napi::CallbackInfo& info) {
    return status(info, contained([&] {
                    double graph = 0;
                    if (!get_number(info.Env(), info[0], &graph)) return wrong("graph");
                    return session_->replay(static_cast<int64_t>(graph));
                  }));
  }

  // dropGraph(graph)
  Napi::Value drop_graph(const Napi::CallbackInfo& info) {
    contained([&] {
      double graph = 0;
      if (!get_number(info.Env(), info[0], &graph)) return wrong("graph");
      session_->drop_graph(static_cast<int64_t>(graph));
      return versemi::ok();
    });
    return info.Env().Undefined();
  }

  // useSumLibrary(file): [version, what is there instead], one of them empty
  Napi::Value use_sum_library(const Napi::CallbackInfo& info) {
    std::string version, found;
    contained([&] {
      version = session_->use_sum_library(info[0].As<Napi::String>().Utf8Value(), &found);
      return versemi::ok();
    });
    Napi::Array result = Napi::Array::New(info.Env(), 2);
    result.Set(0u, version);
    result.Set(1u, found);
    return result;
  }

  // makeSumId(id): status; fills the 128 bytes that every rank joins with
  Napi::Value make_sum_id(const Napi::CallbackInfo& info) {
    return status(info, contained([&] {
                    void* id = nullptr;
                    if (view_bytes(info.Env(), info[0], &id) != versemi::device::sum_id_bytes) return wrong("id");
                    return session_->make_sum_id(static_cast<unsigned char*>(id));
                  }));
  }

  // joinRanks(id, rank, ranks, alarm): promise of null, or [status, message]; alarm: an Int32Array that is read until leaveRanks
  Napi::Value join_ranks(const Napi::CallbackInfo& info) {
    return begin(info, info.Env().Null(), [&](versemi_status* result) -> std::unique_ptr<task> {
      void* id = nullptr;
      void* alarm = nullptr;
      int32_t rank = 0, ranks = 0;
      if (view_bytes(info.Env(), info[0], &id) != versemi::device::sum_id_bytes || view_bytes(info.Env(), info[3], &alarm) != 4 ||
          napi_get_value_int32(info.Env(), info[1], &rank) != napi_ok || napi_get_value_int32(info.Env(), info[2], &ranks) != napi_ok) {
        *result = wrong("id, rank, ranks or alarm");
        return nullptr;
      }
      alarm_ = Napi::Persistent(info[3].As<Napi::Object>());
      return session_->begin_join(static_cast<unsigned char*>(id), rank, ranks, static_cast<int32_t*>(alarm), result);
    });
  }

  // sumOverRanks(id, elements): status; begins to replace the first elements of a buffer by their sums over the ranks
  Napi::Value sum_over_ranks(const Napi::CallbackInfo& info) {
    return status(info, contained([&] {
                    double id = 0, elements = 0;
                    if (!get_number(info.Env(), info[0], &id)) return wrong("id");
                    if (!get_number(info.Env(), info[1], &elements) || !(elements >= 0 && elements <= 2e15)) return wrong("elements");
                    return session_->sum_over_ranks(static_cast<int64_t>(id), static_cast<int64_t>(elements));
                  }));
  }

  // leaveRanks(atOnce): status
  Napi::Value leave_ranks(const Napi::CallbackInfo& info) {
    const versemi_status result = contained([&] {
      session_->leave_ranks(info[0].ToBoolean().Value());
      return versemi::ok();
    });
    alarm_.Reset();
    return status(info, result);
  }

  // describe(): { description, isa, threads, asynchronous, precision, rows }; rows: the names of all
  Napi::Value describe(const Napi::CallbackInfo& info) {
    std::string isa, description, precision;
    std::vector<std::string> names;
    int threads = 0;
    bool asynchronous = false;
    contained([&] {
      asynchronous = session_->asynchronous();
      precision = session_->precision();
      isa = session_->isa();
      threads = session_->threads();
      description = session_->description();
      names = session_->row_names();
      return versemi::ok();
    });
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("isa", isa);
    result.Set("threads", threads);
    result.Set("description", description);
    result.Set("asynchronous", asynchronous);
    result.Set("precision", precision);
    Napi::Array rows = Napi::Array::New(info.Env(), names.size());
    for (uint32_t i = 0; i < names.size(); i++) rows.Set(i, names[i]);
    result.Set("rows", rows);
    return result;
  }

  // message(): what the last call that did not return 0 had to say
  Napi::Value message(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), message_); }

  // dispose(): frees every buffer and stops the threads; every later call fails. May be called twice.
  Napi::Value dispose(const Napi::CallbackInfo& info) {
    session_.reset();
    return info.Env().Undefined();
  }

  static versemi_status wrong(const char* argument) {
    return versemi::failure(VERSEMI_INVALID_ARGUMENT, "argument %s is not of the expected type or size", argument);
  }

  // Runs `body` with nothing thrown past it; keeps the message of a failure.
  template <typename Body>
  versemi_status contained(Body body) {
    versemi_status result;
    try {
      result = session_ == nullptr ? versemi::failure(VERSEMI_DEVICE_FAILED, "the device was disposed of") : body();
    } catch (const std::bad_alloc &) {
      result = versemi::failure(VERSEMI_OUT_OF_MEMORY, "the host has no memory left");
    } catch (const std::exception& error) {
      result = versemi::failure(VERSEMI_DEVICE_FAILED, "%s", error.what());
    }
    if (result.code != VERSEMI_OK) message_ = result.message;
    return result;
  }

  static Napi::Value status(const Napi::CallbackInfo& info, const versemi_status& result) {
    return Napi::Number::New(info.Env(), result.code);
  }

  std::unique_ptr<versemi::device> session_;
  // The memory that the device reads while it has joined ranks.
  Napi::ObjectReference alarm_;
  std::string message_;
};

// One instance per environment (main thread, each worker), so that nothing is shared between them.
class Addon : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports) : device_(Napi::Persistent(Device::define(env))) {
    Napi::Object versions = Napi::Object::New(env);
    versions.Set("napi", NAPI_VERSION);
    versions.Set("compiler", session::compiler());
    versions.Set("cuda", versemi::cuda_architectures());
    DefineAddon(exports, {InstanceMethod("createDevice", &Addon::create_device),
                          InstanceMethod("cudaUnavailable", &Addon::cuda_unavailable), InstanceValue("versions", versions)});
  }

 private:
  Napi::Value create_device(const Napi::CallbackInfo& info) { return device_.New({info[0]}); }

  // cudaUnavailable(): null, or why createDevice({ device: 'cuda' }) would fail
  Napi::Value cuda_unavailable(const Napi::CallbackInfo& info) {
    const std::string reason = versemi::cuda_unavailable();
    return reason.empty() ? info.Env().Null() : Napi::Value(Napi::String::New(info.Env(), reason));
  }

  Napi::FunctionReference device_;
};

}  // namespace

NODE_API_ADDON(Addon)
