#include "gate.h"

#include <libxml/SAX2.h>
#include <libxml/parserInternals.h>
#include <libxml/xmlIO.h>

#include <cstring>
#include <map>
#include <mutex>

#include "handles.h"
#include "mvm/base/assert.h"
#include "mvm/topologies/limits.h"
#include "mvm/topologies/shipped.h"

namespace mvm::topologies::xml {
namespace {

const char* chars(const xmlChar* text) { return reinterpret_cast<const char*>(text); }
const xmlChar* xml_chars(const char* text) { return reinterpret_cast<const xmlChar*>(text); }

std::string trimmed(const char* message) {
  std::string text = message == nullptr ? "unknown error" : message;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

// ---- first pass: well-formed, no DTD, within the limits

/// State of the first pass; libxml2 calls back into it.
struct FirstPass {
  xmlParserCtxt* context = nullptr;
  GateResult* result = nullptr;
  std::string file;
  int depth = 0;
  std::uint64_t elements = 0;

  void refuse(std::string message) {
    if (!result->faults.empty()) return;
    result->faults.push_back({Fault::kIllFormed,
                              file,
                              xmlSAX2GetLineNumber(context),
                              xmlSAX2GetColumnNumber(context),
                              std::move(message),
                              {}});
    xmlStopParser(context);
  }
};

FirstPass& pass_of(void* user) {
  return *static_cast<FirstPass*>(static_cast<xmlParserCtxt*>(user)->_private);
}

void on_internal_subset(void* user, const xmlChar*, const xmlChar*, const xmlChar*) {
  pass_of(user).refuse(
      "found a document type declaration, expected none (DTDs and entities are not accepted)");
}

void on_start(void* user, const xmlChar* name, const xmlChar*, const xmlChar* uri, int, const xmlChar**,
              int attribute_count, int, const xmlChar** attributes) {
  FirstPass& pass = pass_of(user);
  if (pass.elements == 0) {
    pass.result->root = chars(name);
    pass.result->root_namespace = uri == nullptr ? "" : chars(uri);
  }
  if (++pass.elements > kMaxElements) {
    pass.refuse("found more than " + std::to_string(kMaxElements) + " elements");
  }
  if (++pass.depth > kMaxDepth) {
    pass.refuse("found elements nested more than " + std::to_string(kMaxDepth) + " deep");
  }
  // Five pointers for each: name, prefix, namespace, begin and end of the value.
  for (std::ptrdiff_t i = 0; i < attribute_count; ++i) {
    // A schema location would make the validator open what a stranger wrote there.
    const xmlChar* space = attributes[5 * i + 2];
    if (space != nullptr && std::strcmp(chars(space), "http://www.w3.org/2001/XMLSchema-instance") == 0) {
      pass.refuse("found xsi:" + std::string(chars(attributes[5 * i])) +
                  ", expected no xsi attribute (schemas are built in)");
    }
  }
}

void on_end(void* user, const xmlChar*, const xmlChar*, const xmlChar*) { --pass_of(user).depth; }

void on_instruction(void* user, const xmlChar* target, const xmlChar*) {
  pass_of(user).refuse("found the processing instruction <?" + std::string(chars(target)) +
                       "?>, expected none");
}

void on_error(void* user, xmlErrorPtr error) {
  FirstPass& pass = pass_of(user);
  if (!pass.result->faults.empty() || error->level < XML_ERR_ERROR) return;
  pass.result->faults.push_back({Fault::kIllFormed,
                                 pass.file,
                                 error->line,
                                 error->int2 > 0 ? error->int2 : 1,
                                 "not well-formed XML: " + trimmed(error->message),
                                 {}});
}

/// Only UTF-8: what the byte-order mark and the XML declaration say.
std::string foreign_encoding(std::string_view text) {
  if (text.starts_with("\xFE\xFF") || text.starts_with("\xFF\xFE")) return "UTF-16";
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (!text.starts_with("<?xml")) return {};
  const std::string_view declaration = text.substr(0, text.find("?>"));
  const std::size_t at = declaration.find("encoding");
  if (at == std::string_view::npos) return {};
  const std::size_t open = declaration.find_first_of("\"'", at);
  if (open == std::string_view::npos) return {};
  const std::size_t close = declaration.find(declaration[open], open + 1);
  std::string name(declaration.substr(open + 1, close == std::string_view::npos ? close : close - open - 1));
  for (char& c : name) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return name == "UTF-8" ? std::string() : name;
}

void first_pass(std::string_view text, const std::string& file, GateResult& result) {
  FirstPass pass{nullptr, &result, file, 0, 0};
  const ParserContext context(xmlCreateMemoryParserCtxt(text.data(), static_cast<int>(text.size())));
  MVM_ASSERT(context != nullptr);
  pass.context = context.get();
  context->_private = &pass;
  // Only what builds nothing: no tree, no entities, no external anything.
  xmlSAXHandler handler{};
  handler.initialized = XML_SAX2_MAGIC;
  handler.internalSubset = on_internal_subset;
  handler.startElementNs = on_start;
  handler.endElementNs = on_end;
  handler.processingInstruction = on_instruction;
  handler.serror = on_error;
  *context->sax = handler;
  xmlCtxtUseOptions(context.get(), XML_PARSE_NONET);
  xmlParseDocument(context.get());
  if (result.faults.empty() && (context->wellFormed == 0 || context->nsWellFormed == 0)) {
    result.faults.push_back({Fault::kIllFormed, file, 1, 1, "not well-formed XML", {}});
  }
  result.well_formed = result.faults.empty();
}

// ---- second pass: valid by the XSD

constexpr std::string_view kScheme = "mvm-schema:";

int schema_match(const char* name) { return std::string_view(name).starts_with(kScheme) ? 1 : 0; }

/// A schema being read by libxml2.
struct SchemaFile {
  std::string_view text;
  std::size_t at = 0;
};

void* schema_open(const char* name) {
  std::string_view root(name);
  root.remove_prefix(kScheme.size());
  if (root.ends_with(".xsd")) root.remove_suffix(4);
  const std::string_view text = schema_text(root);
  return text.empty() ? nullptr : new SchemaFile{text, 0};
}

int schema_read(void* file, char* buffer, int size) {
  SchemaFile& schema = *static_cast<SchemaFile*>(file);
  const std::size_t count = std::min(static_cast<std::size_t>(size), schema.text.size() - schema.at);
  std::memcpy(buffer, schema.text.data() + schema.at, count);
  schema.at += count;
  return static_cast<int>(count);
}

int schema_close(void* file) {
  delete static_cast<SchemaFile*>(file);
  return 0;
}

/// All published schemas as one, so that every root is known.
Schema load_schemas() {
  xmlInitParser();
  xmlRegisterInputCallbacks(schema_match, schema_open, schema_read, schema_close);
  std::string all = "<xs:schema xmlns:xs=\"http://www.w3.org/2001/XMLSchema\">";
  for (const char* root : {"topology", "image", "policy", "job", "lab"}) {
    all += "<xs:import namespace=\"" + std::string(schema_namespace(root)) + "\" schemaLocation=\"" +
           std::string(kScheme) + root + ".xsd\"/>";
  }
  all += "</xs:schema>";
  const SchemaParserContext context(xmlSchemaNewMemParserCtxt(all.data(), static_cast<int>(all.size())));
  return Schema(xmlSchemaParse(context.get()));
}

xmlSchema* schemas() {
  static const Schema kSchemas = load_schemas();
  MVM_ASSERT(kSchemas != nullptr);
  return kSchemas.get();
}

struct SecondPass {
  std::vector<Diagnostic>* faults = nullptr;
  const std::string* file = nullptr;
};

/// "Element '{urn:mvm:job:1}run': ..." without the name space.
std::string without_namespaces(std::string text) {
  for (std::size_t open = text.find("{urn:mvm:"); open != std::string::npos;
       open = text.find("{urn:mvm:", open)) {
    const std::size_t close = text.find('}', open);
    if (close == std::string::npos) break;
    text.erase(open, close - open + 1);
  }
  return text;
}

void on_schema_error(void* user, xmlErrorPtr error) {
  const SecondPass& pass = *static_cast<SecondPass*>(user);
  if (pass.faults->size() >= kMaxDiagnostics) return;
  const int column = error->int2 > 0 ? error->int2 : 1;
  pass.faults->push_back(
      {Fault::kStructure, *pass.file, error->line, column, without_namespaces(trimmed(error->message)), {}});
}

void second_pass(std::string_view text, const std::string& file, GateResult& result) {
  SecondPass pass{&result.faults, &file};
  const SchemaContext context(xmlSchemaNewValidCtxt(schemas()));
  MVM_ASSERT(context != nullptr);
  xmlSchemaSetValidStructuredErrors(context.get(), on_schema_error, &pass);
  // The buffer is taken over by the validator.
  xmlParserInputBuffer* input =
      xmlParserInputBufferCreateMem(text.data(), static_cast<int>(text.size()), XML_CHAR_ENCODING_UTF8);
  const int outcome = xmlSchemaValidateStream(context.get(), input, XML_CHAR_ENCODING_UTF8, nullptr, nullptr);
  if (outcome != 0 && result.faults.empty()) {
    result.faults.push_back({Fault::kStructure, file, 1, 1, "not valid by its schema", {}});
  }
}

bool known_root(const GateResult& result) {
  const std::string_view expected = schema_namespace(result.root);
  return !expected.empty() && expected == result.root_namespace;
}

}  // namespace

GateResult check(std::string_view text, const std::string& file) {
  GateResult result;
  const auto refuse = [&](std::string message) {
    result.faults.push_back({Fault::kIllFormed, file, 0, 0, std::move(message), {}});
    return result;
  };
  if (text.size() > kMaxFileBytes) {
    return refuse("the file has " + std::to_string(text.size()) + " bytes, expected at most " +
                  std::to_string(kMaxFileBytes));
  }
  if (text.empty()) return refuse("the file is empty, expected XML");
  if (const std::string encoding = foreign_encoding(text); !encoding.empty()) {
    return refuse("found the encoding " + encoding + ", expected UTF-8");
  }
  // libxml2 would take the first one for the end of the file.
  if (text.find('\0') != std::string_view::npos) return refuse("found a NUL byte, expected UTF-8 text");
  schemas();  // initialises libxml2, once
  first_pass(text, file, result);
  // An unknown root is told by the structure check, in better words.
  if (result.well_formed && known_root(result)) {
    second_pass(text, file, result);
  } else if (result.well_formed) {
    result.faults.push_back(
        {Fault::kStructure, file, 1, 1, "found the root element '" + result.root + "'", {}});
  }
  return result;
}

bool matches_pattern(const std::string& pattern, const std::string& text) {
  static std::mutex mutex;
  static std::map<std::string, Regexp> compiled;
  const std::lock_guard lock(mutex);
  Regexp& regexp = compiled[pattern];
  if (regexp == nullptr) regexp.reset(xmlRegexpCompile(xml_chars(pattern.c_str())));
  MVM_ASSERT(regexp != nullptr);
  return xmlRegexpExec(regexp.get(), xml_chars(text.c_str())) == 1;
}

}  // namespace mvm::topologies::xml
