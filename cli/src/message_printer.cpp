#include "message_printer.h"

#include "mvm/base/base64.h"

namespace mvm::cli {

bool MessagePrinter::print(const soap::TakenMessage& message) {
  const bool last = message.offset + message.data.size() == message.size;
  if (raw_) {
    write_message(out_, framing_, message.data, message.size, message.offset == 0, last);
    return last;
  }
  if (message.offset == 0) long_.clear();
  long_ += message.data;
  if (!last) return false;
  Json json = session_.format() == Format::kJsonl ? schema_object("message") : Json::object();
  json["size"] = message.size;
  json["priority"] = message.priority;
  json["key"] = message.key;
  json["again"] = message.again;
  if (is_text(long_))
    json["text"] = long_;
  else
    json["base64"] = base64(long_);
  if (session_.format() == Format::kJsonl)
    print_json(out_, Format::kJsonl, json);
  else
    items_.push_back(std::move(json));
  return true;
}

void MessagePrinter::finish() {
  if (raw_ || session_.format() != Format::kJson) return;
  Json json = schema_object("message");
  json["items"] = items_;
  print_json(out_, Format::kJson, json);
}

}  // namespace mvm::cli
