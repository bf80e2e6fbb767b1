#include <set>

#include "mvm/rmix/soap.h"
#include "xml_values.h"

namespace mvm::rmix {
namespace {

const char* schema_type(Kind kind) {
  switch (kind) {
    case Kind::kBool:
      return "xsd:boolean";
    case Kind::kInt8:
      return "xsd:byte";
    case Kind::kInt16:
      return "xsd:short";
    case Kind::kInt32:
      return "xsd:int";
    case Kind::kInt64:
      return "xsd:long";
    case Kind::kUint8:
      return "xsd:unsignedByte";
    case Kind::kUint16:
      return "xsd:unsignedShort";
    case Kind::kUint32:
      return "xsd:unsignedInt";
    case Kind::kUint64:
      return "xsd:unsignedLong";
    case Kind::kFloat32:
      return "xsd:float";
    case Kind::kFloat64:
      return "xsd:double";
    case Kind::kBytes:
      return "xsd:base64Binary";
    default:
      return "xsd:string";
  }
}

/// "arrayOf.int32": no identifier, so no struct is called so.
std::string array_name(const Type& type) {
  return "arrayOf." + (type.element->kind == Kind::kArray ? array_name(*type.element) : type.element->text());
}

std::string type_name(const Type& type) {
  if (type.kind == Kind::kArray) return "tns:" + array_name(type);
  if (type.kind == Kind::kStruct) return "tns:" + type.structure->name;
  return schema_type(type.kind);
}

class Writer {
 public:
  std::string run(const Interface& interface, const std::string& location) {
    const std::string space = soap::space_of(interface);
    for (const auto& one : interface.structs) {
      arrays_of(one->fields);
      types_ +=
          "   <xsd:complexType name=\"" + one->name + "\">" + sequence(one->fields) + "</xsd:complexType>\n";
    }
    for (const auto& one : interface.exceptions) {
      element(soap::kExceptionPrefix + one->name, one->fields);
      messages_ += message(one->name + ".fault", "fault", soap::kExceptionPrefix + one->name);
    }
    for (const Method& method : interface.methods) operation(method);
    return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<definitions name=\"" + interface.name +
           "\" targetNamespace=\"" + space + "\" xmlns=\"http://schemas.xmlsoap.org/wsdl/\" xmlns:tns=\"" +
           space +
           "\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" "
           "xmlns:soap=\"http://schemas.xmlsoap.org/wsdl/soap/\">\n <types>\n  <xsd:schema "
           "targetNamespace=\"" +
           space + "\" elementFormDefault=\"qualified\">\n" + types_ + "  </xsd:schema>\n </types>\n" +
           messages_ + " <portType name=\"" + interface.name + "PortType\">\n" + port_ +
           " </portType>\n <binding name=\"" + interface.name + "Binding\" type=\"tns:" + interface.name +
           "PortType\">\n  <soap:binding style=\"document\" "
           "transport=\"http://schemas.xmlsoap.org/soap/http\"/>\n" +
           binding_ + " </binding>\n <service name=\"" + interface.name + "\">\n  <port name=\"" +
           interface.name + "\" binding=\"tns:" + interface.name + "Binding\"><soap:address location=\"" +
           location + "\"/></port>\n </service>\n</definitions>\n";
  }

 private:
  std::string sequence(const std::vector<Field>& fields) {
    std::string text = "<xsd:sequence>";
    for (const Field& field : fields)
      text += "<xsd:element name=\"" + field.name + "\" type=\"" + type_name(field.type) + "\"/>";
    return text + "</xsd:sequence>";
  }
  void arrays_of(const std::vector<Field>& fields) {
    for (const Field& field : fields) array(field.type);
  }
  void array(const Type& type) {
    if (type.kind != Kind::kArray) return;
    array(*type.element);
    if (!arrays_.insert(array_name(type)).second) return;
    types_ += "   <xsd:complexType name=\"" + array_name(type) +
              "\"><xsd:sequence><xsd:element name=\"item\" minOccurs=\"0\" maxOccurs=\"unbounded\" type=\"" +
              type_name(*type.element) + "\"/></xsd:sequence></xsd:complexType>\n";
  }
  void element(const std::string& name, const std::vector<Field>& fields) {
    arrays_of(fields);
    types_ += "   <xsd:element name=\"" + name + "\"><xsd:complexType>" + sequence(fields) +
              "</xsd:complexType></xsd:element>\n";
  }
  static std::string message(const std::string& name, const char* part, const std::string& of) {
    return " <message name=\"" + name + "\"><part name=\"" + part + "\" element=\"tns:" + of +
           "\"/></message>\n";
  }
  void operation(const Method& method) {
    const std::string response = method.name + soap::kResponse;
    element(method.name, method.parameters);
    messages_ += message(method.name + ".request", "parameters", method.name);
    port_ += "  <operation name=\"" + method.name + "\"><input message=\"tns:" + method.name + ".request\"/>";
    binding_ += "  <operation name=\"" + method.name + "\"><soap:operation soapAction=\"" + method.name +
                "\"/><input><soap:body use=\"literal\"/></input>";
    if (!method.one_way) {
      element(response, method.result.kind == Kind::kVoid ? std::vector<Field>()
                                                          : std::vector{Field{soap::kResult, method.result}});
      messages_ += message(method.name + ".response", "parameters", response);
      port_ += "<output message=\"tns:" + method.name + ".response\"/>";
      binding_ += "<output><soap:body use=\"literal\"/></output>";
      for (const auto& one : method.exceptions) {
        port_ += "<fault name=\"" + one->name + "\" message=\"tns:" + one->name + ".fault\"/>";
        binding_ += "<fault name=\"" + one->name + "\"><soap:fault name=\"" + one->name +
                    "\" use=\"literal\"/></fault>";
      }
    }
    port_ += "</operation>\n";
    binding_ += "</operation>\n";
  }

  std::set<std::string> arrays_;
  std::string types_, messages_, port_, binding_;
};

}  // namespace

std::string soap_wsdl(const Interface& interface, const std::string& location) {
  return Writer().run(interface, location);
}

}  // namespace mvm::rmix
