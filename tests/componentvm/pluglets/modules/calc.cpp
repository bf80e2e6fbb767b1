// A component for the tests: provides "sum", uses "next". Parameters: bonus, added to every sum; fail, the
// method that fails; kind, the name of the interface.
#include "componentvm/pluglets/calc.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "mvm/pluglets/pluglet.h"

namespace {

using namespace mvm::pluglets;
using mvm::rmix::Outcome;
using mvm::rmix::Value;
namespace calc = mvm::pluglets::testing_calc;

class Calc final : public Pluglet,
                   public Component
#ifndef CALC_STAYS_AWAKE
    ,
                   public Suspendible
#endif
{
  class Sum final : public mvm::rmix::Service {
   public:
    explicit Sum(Calc& calc) : calc_(calc) {}
    mvm::rmix::InterfacePtr interface() const override { return interface_; }
    Outcome call(const mvm::rmix::CallContext&, std::uint32_t method, std::vector<Value> arguments) override {
      return calc_.serve(method, std::move(arguments));
    }

   private:
    Calc& calc_;
    mvm::rmix::InterfacePtr interface_ = calc::calc_interface(CALC_KIND);
  };

 public:
  std::vector<Provides> provides() override { return {{"sum", std::make_shared<Sum>(*this)}}; }
  std::vector<Uses> uses() override { return {{"next", calc::calc_interface()}}; }
  mvm::Status init(ExecutionContext& context) override {
    context_ = &context;
    if (const auto bonus = context.parameters().find("bonus"); bonus != context.parameters().end())
      bonus_ = std::stoi(bonus->second);
    return may("init");
  }
  mvm::Status start() override { return may("start"); }
  void stop() override {}
  void destroy() override {}
#ifndef CALC_STAYS_AWAKE
  mvm::Status suspend() override { return may("suspend"); }
  mvm::Status resume() override { return may("resume"); }
#endif

 private:
  mvm::Status may(const std::string& method) {
    const auto fail = context_->parameters().find("fail");
    if (fail == context_->parameters().end() || fail->second != method) return mvm::ok();
    return mvm::Error(mvm::ErrorCode::kFailed, "told to fail");
  }
  Outcome serve(std::uint32_t method, std::vector<Value> arguments) {
    if (method == calc::kAdd)
      return Value::of<std::int32_t>(*arguments[0].get<std::int32_t>() + *arguments[1].get<std::int32_t>() +
                                     bonus_);
    if (method == calc::kVia) {
      const bool holds = *arguments[0].get<std::int32_t>() < 0;
      UsesPort& next = *context_->uses("next");
      Outcome outcome = holds ? next.call(calc::kHold, {}) : next.call(calc::kAdd, std::move(arguments));
      if (auto* value = std::get_if<Value>(&outcome))
        return Value::of<std::int32_t>(*value->get<std::int32_t>() + 1000);
      return outcome;
    }
    if (method == calc::kHolding) return Value::of<std::int32_t>(holding_);
    ++holding_;
    while (::access(calc::hold_file().c_str(), F_OK) != 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    --holding_;
    return Value::of<std::int32_t>(bonus_);
  }

  ExecutionContext* context_ = nullptr;
  int bonus_ = 0;
  std::atomic<int> holding_ = 0;
};

}  // namespace

MVM_PLUGLET(Calc, CALC_NAME, "1.0.0")
