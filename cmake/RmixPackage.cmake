# What services, callers and providers of RMIX need that are built outside of this tree: headers, one static library, the
# generator of stubs, a CMake package. Installed as component `plugin`, as what other plug-ins need is.

# Of objects that are there anyway; who links it takes what it needs of them.
add_library(mvm_rmix_sdk STATIC $<TARGET_OBJECTS:mvm_componentvm_rmix> $<TARGET_OBJECTS:mvm_base>)
target_include_directories(mvm_rmix_sdk PUBLIC
  $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/base/include> $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/componentvm/rmix/include>
  $<INSTALL_INTERFACE:include>)
target_compile_features(mvm_rmix_sdk PUBLIC cxx_std_20)
target_link_libraries(mvm_rmix_sdk PUBLIC nlohmann_json::nlohmann_json Threads::Threads
  PRIVATE ${CMAKE_DL_LIBS} OpenSSL::Crypto spdlog::spdlog)
set_target_properties(mvm_rmix_sdk PROPERTIES LINKER_LANGUAGE CXX EXPORT_NAME rmix OUTPUT_NAME mvm_rmix
  ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)

set_target_properties(mvm-rmixgen PROPERTIES EXPORT_NAME rmixgen)
install(TARGETS mvm_rmix_sdk mvm-rmixgen EXPORT mvm-rmix-targets
  ARCHIVE DESTINATION lib COMPONENT plugin OPTIONAL
  RUNTIME DESTINATION bin COMPONENT plugin OPTIONAL)
install(EXPORT mvm-rmix-targets NAMESPACE mvm:: DESTINATION lib/cmake/mvm-rmix COMPONENT plugin)
install(FILES componentvm/rmix/package/mvm-rmix-config.cmake cmake/MvmRmix.cmake DESTINATION lib/cmake/mvm-rmix
  COMPONENT plugin)
install(DIRECTORY componentvm/rmix/include/ componentvm/plugins/rmix/include/ DESTINATION include COMPONENT plugin
  FILES_MATCHING PATTERN "*.h")
foreach(part assert blob_store clock digest error json log plugin_loader result thread_pool unique_fd)
  install(FILES base/include/mvm/base/${part}.h DESTINATION include/mvm/base COMPONENT plugin)
endforeach()
install(FILES componentvm/rmix/definition/schemas/service.xsd DESTINATION share/mvm/schemas COMPONENT plugin)
