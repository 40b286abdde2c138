# lutra_add_model(NAME model.lutra [PREFIX prefix] [TARGET cortex-m4] [FLASH 32K] [RAM 16K]
#                 [DATA samples.npz [CONFIG settings.toml] [COMPRESS_OPTIONS ...]])
#
# Adds the library NAME: the bundle that `lutra generate` writes of the model when the project is built, with lutra::runtime.
# PREFIX, of its header PREFIX.h and its C names, is NAME unless given.
# With DATA the model, an .onnx file of float weights, goes through `lutra compress` first, which needs PyTorch; COMPRESS_OPTIONS are
# further options of that command. FLASH and RAM then are the budget of both.
# LUTRA_COMMAND, a cache variable, is the lutra command: that of this package's environment, else the one on the PATH.

include_guard(GLOBAL)
set(LUTRA_CMAKE_DIR ${CMAKE_CURRENT_LIST_DIR} CACHE INTERNAL "The folder of lutra_add_model.cmake")

function(lutra_add_model name model)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "PREFIX;TARGET;FLASH;RAM;DATA;CONFIG" "COMPRESS_OPTIONS")
  set(wrong ${arg_UNPARSED_ARGUMENTS} ${arg_KEYWORDS_MISSING_VALUES})
  if(wrong)
    message(FATAL_ERROR "lutra_add_model(${name}): unknown or without a value: ${wrong}")
  endif()
  if(NOT arg_DATA AND (arg_CONFIG OR arg_COMPRESS_OPTIONS))
    message(FATAL_ERROR "lutra_add_model(${name}): CONFIG and COMPRESS_OPTIONS are of compression, which needs DATA")
  endif()
  if(NOT CMAKE_C_COMPILER_LOADED)
    message(FATAL_ERROR "lutra_add_model(${name}): bundles are C, which this project has not enabled: project(... LANGUAGES C CXX)")
  endif()
  if(NOT arg_PREFIX)
    set(arg_PREFIX ${name})
  endif()
  # In a virtual environment: lib/pythonX.Y/site-packages/lutra/runtime_c/cmake beside bin/lutra.
  find_program(LUTRA_COMMAND lutra HINTS ${LUTRA_CMAKE_DIR}/../../../../../../bin ${LUTRA_CMAKE_DIR}/../../../../../Scripts
    NO_CMAKE_FIND_ROOT_PATH REQUIRED)
  set(options "")
  foreach(option IN ITEMS TARGET FLASH RAM)
    if(arg_${option})
      string(TOLOWER ${option} flag)
      list(APPEND options --${flag} ${arg_${option}})
    endif()
  endforeach()

  cmake_path(ABSOLUTE_PATH model BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/lutra_models/${name})
  if(arg_DATA)
    set(inputs ${model})
    foreach(file IN LISTS arg_DATA arg_CONFIG) # or names that Lutra knows, such as mnist
      cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} OUTPUT_VARIABLE path)
      if(EXISTS ${path})
        list(APPEND inputs ${path})
      endif()
    endforeach()
    set(compress ${LUTRA_COMMAND} compress ${model} --data ${arg_DATA} -o ${folder}.lutra ${options})
    if(arg_CONFIG)
      list(APPEND compress --config ${arg_CONFIG})
    endif()
    add_custom_command(OUTPUT ${folder}.lutra
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_CURRENT_BINARY_DIR}/lutra_models
      COMMAND ${CMAKE_COMMAND} -E rm -rf ${folder}.lutra.checkpoint # of a build that was interrupted
      COMMAND ${compress} ${arg_COMPRESS_OPTIONS}
      DEPENDS ${inputs} WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} VERBATIM USES_TERMINAL)
    set(model ${folder}.lutra)
  endif()

  set(bundle ${folder}/${arg_PREFIX})
  add_custom_command(OUTPUT ${bundle}.c ${bundle}.h ${bundle}_data.h ${bundle}.json
    COMMAND ${CMAKE_COMMAND} -E rm -rf ${folder} # of another prefix
    COMMAND ${LUTRA_COMMAND} generate ${model} -o ${folder} --prefix ${arg_PREFIX} ${options}
    DEPENDS ${model} VERBATIM)
  add_library(${name} STATIC ${bundle}.c ${bundle}.h ${bundle}_data.h)
  target_include_directories(${name} PUBLIC ${folder})
  target_link_libraries(${name} PUBLIC lutra::runtime)
  target_compile_features(${name} PRIVATE c_std_99)
endfunction()
