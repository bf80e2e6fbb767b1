# cmake -DTREE=<tree> -P BundleLibraries.cmake
#
# Copies into <tree>/lib/mvm/deps the shared libraries that the kernel and its plug-ins need, except those of the C
# library, which every system has: the tree then works where /usr has none of them. The programs find them by their own
# run path ($ORIGIN).
cmake_minimum_required(VERSION 3.25)
# First, or ldd would find the copies of last time.
file(REMOVE_RECURSE ${TREE}/lib/mvm/deps)
file(MAKE_DIRECTORY ${TREE}/lib/mvm/deps)
file(GLOB files ${TREE}/bin/* ${TREE}/lib/mvm/plugins/*.so)
execute_process(COMMAND ldd ${files} OUTPUT_VARIABLE said COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^ \t\n]+ => [^ \n]+" lines "${said}")
set(seen "")
foreach(line IN LISTS lines)
  string(REGEX REPLACE " => .*" "" name "${line}")
  string(REGEX REPLACE ".* => " "" path "${line}")
  if(name MATCHES "^(libc|libm|libdl|librt|libpthread|libresolv|libutil|ld-linux.*)\\.so" OR name IN_LIST seen)
    continue()
  endif()
  if(NOT EXISTS "${path}")
    message(FATAL_ERROR "library ${name} is needed by the node tree and was not found")
  endif()
  list(APPEND seen ${name})
  file(REAL_PATH ${path} real)
  file(COPY_FILE ${real} ${TREE}/lib/mvm/deps/${name})
endforeach()
list(LENGTH seen count)
message(STATUS "node tree: ${count} libraries bundled")
