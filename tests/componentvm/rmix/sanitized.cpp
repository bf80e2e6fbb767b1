// What programs that load the ONC RPC provider need where a sanitizer is linked in.
//
// The sanitizers stand in for the xdr_ functions, and look up the true ones when the program starts: libtirpc
// has to be there by then, or they call nothing. So these programs are linked to it (CMakeLists.txt).

/// libtirpc reads the bytes that fill up to its unit of four into one static buffer that nobody looks at.
extern "C" const char* __tsan_default_suppressions();   // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __tsan_default_suppressions() {  // NOLINT(bugprone-reserved-identifier)
  return "race:libtirpc.so\n";
}
