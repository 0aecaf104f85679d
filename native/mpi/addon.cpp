// Node-API alone: arguments, memory that must stay while MPI reads it, promises. What is sent is decided in src/ranks.
#define NAPI_VERSION 8
#include <napi.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "world.h"

namespace {

using versemi_mpi::Job;
using versemi_mpi::World;

/// The implementation whose headers this file was compiled with: its library, and no other, must be there when it runs.
std::string built_for() {
#if defined(OMPI_MAJOR_VERSION)
  return "Open MPI " + std::to_string(OMPI_MAJOR_VERSION) + "." + std::to_string(OMPI_MINOR_VERSION) + "." +
         std::to_string(OMPI_RELEASE_VERSION);
#elif defined(MPICH_VERSION)
  return std::string("MPICH ") + MPICH_VERSION;
#else
  return "MPI " + std::to_string(MPI_VERSION) + "." + std::to_string(MPI_SUBVERSION);
#endif
}

/// Arrays that a sum under way reads and writes.
struct Pending {
  std::shared_ptr<Job> job;
  Napi::Reference<Napi::Value> values;
};

/// Never destroyed: MPI_Abort runs the destructors of a process on the thread of MPI, which cannot wait for itself.
World* world = nullptr;
std::map<double, Pending> pending;
double next_pending = 1;

/// [rank that is lost, seconds without an answer, told to end, what MPI said], or null.
Napi::Value outcome(Napi::Env env, const Job& job) {
  if (job.done && job.lost_rank < 0 && job.failure.empty()) return env.Null();
  Napi::Array result = Napi::Array::New(env, 4);
  result.Set(0u, Napi::Number::New(env, job.lost_rank));
  result.Set(1u, Napi::Number::New(env, job.silent_seconds));
  result.Set(2u, Napi::Boolean::New(env, job.told_to_end));
  result.Set(3u, Napi::String::New(env, job.done ? job.failure : "the communicator is closed"));
  return result;
}

/// open(lostSeconds): starts MPI. @return [rank, size, localRank], or what failed
Napi::Value open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (world == nullptr) world = new World(info[0].As<Napi::Number>().DoubleValue());
  if (!world->start_failure().empty()) return Napi::String::New(env, world->start_failure());
  Napi::Array result = Napi::Array::New(env, 3);
  result.Set(0u, Napi::Number::New(env, world->rank()));
  result.Set(1u, Napi::Number::New(env, world->size()));
  result.Set(2u, Napi::Number::New(env, world->local_rank()));
  return result;
}

/// startSum(values: Float32Array): a number for `wait`.
Napi::Value start_sum(const Napi::CallbackInfo& info) {
  Napi::Float32Array values = info[0].As<Napi::Float32Array>();
  float* data = values.Data();
  const std::size_t count = values.ElementLength();
  auto job = world->submit([data, count](const versemi_mpi::Group& group, int tag) {
    return std::make_unique<versemi_mpi::AllReduceSum>(group, tag, data, count);
  });
  const double id = next_pending++;
  pending[id] = {std::move(job), Napi::Reference<Napi::Value>::New(values, 1)};
  return Napi::Number::New(info.Env(), id);
}

Napi::Value wait(const Napi::CallbackInfo& info) {
  const auto found = pending.find(info[0].As<Napi::Number>().DoubleValue());
  if (found == pending.end()) return info.Env().Null();
  world->wait(*found->second.job);
  Napi::Value result = outcome(info.Env(), *found->second.job);
  pending.erase(found);
  return result;
}

/// gather(values: Float64Array, gathered: Float64Array)
Napi::Value gather(const Napi::CallbackInfo& info) {
  Napi::Float64Array values = info[0].As<Napi::Float64Array>();
  double* gathered = info[1].As<Napi::Float64Array>().Data();
  const double* data = values.Data();
  const std::size_t count = values.ElementLength();
  auto job = world->submit([=](const versemi_mpi::Group& group, int tag) {
    return std::make_unique<versemi_mpi::AllGather>(group, tag, data, count, gathered);
  });
  world->wait(*job);
  return outcome(info.Env(), *job);
}

/// broadcast(values: Float32Array, root)
Napi::Value broadcast(const Napi::CallbackInfo& info) {
  Napi::Float32Array values = info[0].As<Napi::Float32Array>();
  float* data = values.Data();
  const std::size_t count = values.ElementLength();
  const int root = info[1].As<Napi::Number>().Int32Value();
  auto job = world->submit([=](const versemi_mpi::Group& group, int tag) {
    return std::make_unique<versemi_mpi::Broadcast>(group, tag, data, count, root);
  });
  world->wait(*job);
  return outcome(info.Env(), *job);
}

/// exchange(message: string, done: (outcome, messages: string[] | null) => void)
void exchange(const Napi::CallbackInfo& info) {
  std::string message = info[0].As<Napi::String>().Utf8Value();
  auto done = Napi::ThreadSafeFunction::New(info.Env(), info[1].As<Napi::Function>(), "versemi_mpi exchange", 0, 1);
  auto job = std::make_shared<std::shared_ptr<Job>>();
  const auto report = [done, job]() mutable {
    done.BlockingCall([job](Napi::Env env, Napi::Function callback) {
      const Job& one = **job;
      Napi::Value failed = outcome(env, one);
      if (!failed.IsNull()) {
        callback.Call({failed, env.Null()});
        return;
      }
      const auto& texts = static_cast<const versemi_mpi::Exchange&>(*one.operation).messages();
      Napi::Array result = Napi::Array::New(env, texts.size());
      for (std::size_t i = 0; i < texts.size(); i++)
        result.Set(static_cast<std::uint32_t>(i), Napi::String::New(env, texts[i]));
      callback.Call({env.Null(), result});
    });
    done.Release();
  };
  *job = world->submit(
      [&message](const versemi_mpi::Group& group, int tag) {
        return std::make_unique<versemi_mpi::Exchange>(group, tag, std::move(message));
      },
      report);
}

/// traffic(): [bytes sent, collectives]
Napi::Value traffic(const Napi::CallbackInfo& info) {
  Napi::Array result = Napi::Array::New(info.Env(), 2);
  result.Set(0u, Napi::Number::New(info.Env(), static_cast<double>(world->bytes_sent())));
  result.Set(1u, Napi::Number::New(info.Env(), static_cast<double>(world->calls())));
  return result;
}

/// watch(alarm: Int32Array | null): see World::watch_all. The array must not go before it is given up.
void watch(const Napi::CallbackInfo& info) {
  if (!info[0].IsTypedArray()) {
    world->watch_all(nullptr);
    return;
  }
  static Napi::Reference<Napi::Value>* const kept = new Napi::Reference<Napi::Value>;
  Napi::Int32Array alarm = info[0].As<Napi::Int32Array>();
  world->watch_all(alarm.Data());
  *kept = Napi::Reference<Napi::Value>::New(alarm, 1);
}

/// foundLost(): what `watch` has found, or null
Napi::Value found_lost(const Napi::CallbackInfo& info) {
  const Job& lost = world->found_lost();
  return lost.lost_rank < 0 ? info.Env().Null() : outcome(info.Env(), lost);
}

void abort_all(const Napi::CallbackInfo& info) { world->abort(info[0].As<Napi::Number>().Int32Value()); }

/// close(): every rank calls it, after its last collective.
void close_world(const Napi::CallbackInfo&) { world->stop(true); }

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  char library[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(library, &length);
  exports.Set("builtFor", Napi::String::New(env, built_for()));
  exports.Set("library", Napi::String::New(env, library));
  exports.Set("open", Napi::Function::New(env, open));
  exports.Set("startSum", Napi::Function::New(env, start_sum));
  exports.Set("wait", Napi::Function::New(env, wait));
  exports.Set("gather", Napi::Function::New(env, gather));
  exports.Set("broadcast", Napi::Function::New(env, broadcast));
  exports.Set("exchange", Napi::Function::New(env, exchange));
  exports.Set("traffic", Napi::Function::New(env, traffic));
  exports.Set("watch", Napi::Function::New(env, watch));
  exports.Set("foundLost", Napi::Function::New(env, found_lost));
  exports.Set("abort", Napi::Function::New(env, abort_all));
  exports.Set("close", Napi::Function::New(env, close_world));
  // A process that ends without `close` must not end while the thread of MPI uses what is taken down.
  env.AddCleanupHook([] {
    if (world != nullptr) world->stop(false);
  });
  return exports;
}

}  // namespace

NODE_API_MODULE(versemi_mpi, initialize)
