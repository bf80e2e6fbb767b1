#include "control.h"

#include <algorithm>

#include "mvm/pluglets/builder.h"

namespace mvm::pluglets {
namespace {

using rmix::Fate;
using rmix::Kind;
using rmix::Outcome;
using rmix::Type;
using rmix::Value;

// The methods' numbers: their places in the interface.
enum Method : std::uint32_t { kDeploy, kAct, kList, kConnect, kDisconnect, kReference };

Type text() { return Type::of(Kind::kString); }

rmix::InterfacePtr make_interface() {
  auto interface = std::make_shared<rmix::Interface>();
  interface->name = "pluglets";
  const auto method = [&](const char* name, std::vector<rmix::Field> parameters, Type result) {
    rmix::Method one;
    one.name = name;
    one.parameters = std::move(parameters);
    one.result = std::move(result);
    one.concurrent = true;
    interface->methods.push_back(std::move(one));
  };
  method("deploy", {{"type", text()}, {"id", text()}, {"parameters", Type::array(text())}}, text());
  method("act", {{"id", text()}, {"event", text()}}, Type());
  method("list", {}, Type::array(text()));
  method("connect", {{"id", text()}, {"port", text()}, {"target", text()}}, Type());
  method("disconnect", {{"id", text()}, {"port", text()}}, Type());
  method("reference", {{"id", text()}, {"port", text()}}, text());
  return interface;
}

Outcome outcome(const Status& status) {
  return status ? Outcome(Value()) : Outcome(rmix::Failure{status.error(), Fate::kRan});
}
Outcome outcome(Result<std::string> result) {
  if (!result) return rmix::Failure{result.error(), Fate::kRan};
  return Value::of<std::string>(*std::move(result));
}

class Control final : public rmix::Service {
 public:
  explicit Control(Controlled& container) : container_(container) {}
  rmix::InterfacePtr interface() const override { return control_interface(); }
  /// Arguments fit the method: the server has checked.
  Outcome call(const rmix::CallContext& context, std::uint32_t method,
               std::vector<Value> arguments) override {
    const Actor actor = container_.actor_of(context.caller);
    const auto word = [&](std::size_t i) { return *arguments.at(i).get<std::string>(); };
    switch (method) {
      case kDeploy: {
        Deployment deployment{.type = word(0), .id = word(1), .parameters = {}};
        for (const Value& one : *arguments[2].get<rmix::Array>()) {
          const std::string& pair = *one.get<std::string>();
          const std::size_t equals = std::min(pair.find('='), pair.size());
          deployment.parameters[pair.substr(0, equals)] = equals < pair.size() ? pair.substr(equals + 1) : "";
        }
        return outcome(container_.deploy(actor, deployment));
      }
      case kAct: {
        const auto event = event_from(word(1));
        if (!event)
          return rmix::failed(ErrorCode::kInvalid, "\"" + word(1).substr(0, 40) + "\" cannot be asked for",
                              Fate::kRan);
        return outcome(container_.act(actor, word(0), *event));
      }
      case kList: {
        rmix::Array all;
        for (const PlugletView& view : container_.list(actor))
          all.push_back(Value::of<std::string>(view.uri + " " + std::string(to_string(view.state))));
        return Value::of<rmix::Array>(std::move(all));
      }
      case kConnect:
        return outcome(container_.connect(actor, word(0), word(1), word(2)));
      case kDisconnect:
        return outcome(container_.disconnect(actor, word(0), word(1)));
      case kReference:
        return outcome(container_.reference(actor, word(0), word(1)));
      default:
        return rmix::failed(ErrorCode::kNotFound, "no such method", Fate::kNotRun);
    }
  }

 private:
  Controlled& container_;
};

// ---- sites ------------------------------------------------------------------------------------------------

class LocalSite final : public Site {
 public:
  LocalSite(Container& container, Actor actor) : container_(container), actor_(std::move(actor)) {}
  Result<std::string> deploy(const Deployment& deployment) override {
    return container_.deploy(actor_, deployment);
  }
  Status act(const std::string& id, Event event) override { return container_.act(actor_, id, event); }
  Status connect(const std::string& id, const std::string& port, const std::string& target) override {
    return container_.connect(actor_, id, port, target);
  }
  Status disconnect(const std::string& id, const std::string& port) override {
    return container_.disconnect(actor_, id, port);
  }
  Result<std::string> reference(const std::string& id, const std::string& port) override {
    return container_.reference(actor_, id, port);
  }

 private:
  Container& container_;
  Actor actor_;
};

class RemoteSite final : public Site {
 public:
  explicit RemoteSite(std::shared_ptr<rmix::Remote> remote) : remote_(std::move(remote)) {}
  Result<std::string> deploy(const Deployment& deployment) override {
    rmix::Array parameters;
    for (const auto& [name, value] : deployment.parameters)
      parameters.push_back(Value::of<std::string>(name + "=" + value));
    return ask(kDeploy,
               {words({deployment.type, deployment.id}), Value::of<rmix::Array>(std::move(parameters))});
  }
  Status act(const std::string& id, Event event) override {
    return tell(kAct, {id, std::string(to_string(event))});
  }
  Status connect(const std::string& id, const std::string& port, const std::string& target) override {
    return tell(kConnect, {id, port, target});
  }
  Status disconnect(const std::string& id, const std::string& port) override {
    return tell(kDisconnect, {id, port});
  }
  Result<std::string> reference(const std::string& id, const std::string& port) override {
    return ask(kReference, {words({id, port})});
  }

 private:
  struct Words {
    std::vector<Value> values;
    Words(std::vector<Value> some) : values(std::move(some)) {}  // NOLINT: implicit on purpose
    Words(Value one) { values.push_back(std::move(one)); }       // NOLINT: implicit on purpose
  };
  static std::vector<Value> words(const std::vector<std::string>& texts) {
    std::vector<Value> values;
    for (const std::string& one : texts) values.push_back(Value::of<std::string>(one));
    return values;
  }
  Result<Value> call(Method method, std::vector<Value> arguments) {
    Outcome outcome = remote_->call(method, std::move(arguments));
    if (auto* value = std::get_if<Value>(&outcome)) return std::move(*value);
    if (const auto* failure = std::get_if<rmix::Failure>(&outcome)) return failure->error;
    return Error(ErrorCode::kFailed, "the container answered with an exception");
  }
  Result<std::string> ask(Method method, std::vector<Words> parts) {
    std::vector<Value> arguments;
    for (Words& part : parts)
      for (Value& value : part.values) arguments.push_back(std::move(value));
    MVM_ASSIGN(Value value, call(method, std::move(arguments)));
    auto* const answer = value.get<std::string>();
    if (answer == nullptr) return Error(ErrorCode::kCorrupt, "the container answered with no text");
    return std::move(*answer);
  }
  Status tell(Method method, const std::vector<std::string>& texts) {
    const auto done = call(method, words(texts));
    return done ? ok() : Status(done.error());
  }
  std::shared_ptr<rmix::Remote> remote_;
};

}  // namespace

rmix::InterfacePtr control_interface() {
  static const rmix::InterfacePtr interface = make_interface();
  return interface;
}

std::shared_ptr<rmix::Service> make_control(Controlled& container) {
  return std::make_shared<Control>(container);
}

std::unique_ptr<Site> make_site(Container& container, Actor actor) {
  return std::make_unique<LocalSite>(container, std::move(actor));
}

Result<std::unique_ptr<Site>> make_site(rmix::Client& client, const std::string& address) {
  MVM_ASSIGN(const auto read, rmix::Address::read(address));
  MVM_ASSIGN(auto remote, client.bind(read, control_interface()));
  return std::unique_ptr<Site>(std::make_unique<RemoteSite>(std::move(remote)));
}

}  // namespace mvm::pluglets
