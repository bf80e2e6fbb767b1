#include "fields.h"

namespace mvm::soap {

void bytes_to_wire(struct soap* soap, xsd__base64Binary& wire, std::string_view bytes) {
  wire.__size = static_cast<int>(bytes.size());
  wire.__ptr = static_cast<unsigned char*>(soap_malloc(soap, bytes.size() + 1));
  wire.id = wire.type = wire.options = nullptr;
  if (wire.__ptr != nullptr && !bytes.empty()) std::memcpy(wire.__ptr, bytes.data(), bytes.size());
}

}  // namespace mvm::soap
