// A task of a device as a promise.
#ifndef VERSEMI_ADDON_WAITER_H
#define VERSEMI_ADDON_WAITER_H

#include <napi.h>

#include <memory>

#include "../cpu/context.h"
#include "device.h"

namespace versemi {

// Waits for a task on a thread of Node's pool. The promise becomes null, or [status, message]; the view stays alive until then.
class waiter : public Napi::AsyncWorker {
 public:
  waiter(Napi::Env env, std::unique_ptr<task> task, Napi::Value view)
      : Napi::AsyncWorker(env), promise_(Napi::Promise::Deferred::New(env)), task_(std::move(task)) {
    if (view.IsObject()) view_ = Napi::Persistent(view.As<Napi::Object>());
  }
  Napi::Promise promise() const { return promise_.Promise(); }
  // Without a task: `status` is the result already.
  static Napi::Value settled(Napi::Env env, const versemi_status& status) {
    const Napi::Promise::Deferred promise = Napi::Promise::Deferred::New(env);
    promise.Resolve(result(env, status));
    return promise.Promise();
  }

 protected:
  void Execute() override { status_ = task_->wait(); }
  void OnOK() override {
    task_->end(status_.code == VERSEMI_OK);
    promise_.Resolve(result(Env(), status_));
  }

 private:
  static Napi::Value result(Napi::Env env, const versemi_status& status) {
    if (status.code == VERSEMI_OK) return env.Null();
    Napi::Array pair = Napi::Array::New(env, 2);
    pair.Set(0u, Napi::Number::New(env, status.code));
    pair.Set(1u, Napi::String::New(env, status.message));
    return pair;
  }

  Napi::Promise::Deferred promise_;
  std::unique_ptr<task> task_;
  versemi_status status_ = versemi::ok();
  Napi::ObjectReference view_;
};

}  // namespace versemi

#endif
