# Runs soapcpp2; a warning is an error, since a mistyped //gsoap directive only warns.
execute_process(
  COMMAND ${SOAPCPP2} -c++17 -j -L -x -s -u -d ${OUT} -I ${IDL} -I /usr/share/gsoap/import ${IDL}/mvm.h
  RESULT_VARIABLE result OUTPUT_VARIABLE said ERROR_VARIABLE said)
if(NOT result EQUAL 0 OR said MATCHES "WARNING|[Ww]arning|\\*\\*\\* ?[Ee]rror")
  message(FATAL_ERROR "soapcpp2 on ${IDL}/mvm.h:\n${said}")
endif()
