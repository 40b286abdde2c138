# Bare-metal GCC for Cortex-M: cmake --toolchain boards/toolchains/arm-none-eabi.cmake -DTARGET_CPU=cortex-m4
# or -DLUTRA_BOARD=microbit, which says its CPU unless TARGET_CPU does.
# Optimises for size unless CMAKE_BUILD_TYPE says otherwise.

set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY) # an executable would need a linker script
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES TARGET_CPU LUTRA_BOARD)
set(CMAKE_BUILD_TYPE MinSizeRel CACHE STRING "Release is -O3, MinSizeRel -Os")

if(LUTRA_BOARD)
  include(${CMAKE_CURRENT_LIST_DIR}/../board.cmake)
  if(NOT TARGET_CPU)
    set(TARGET_CPU ${BOARD_cpu})
  endif()
endif()
set(float_cortex-m0 -mfloat-abi=soft)
set(float_cortex-m0plus -mfloat-abi=soft)
set(float_cortex-m3 -mfloat-abi=soft)
set(float_cortex-m4 "-mfloat-abi=hard -mfpu=fpv4-sp-d16")
set(float_cortex-m7 "-mfloat-abi=hard -mfpu=fpv5-sp-d16")
set(float_cortex-m33 "-mfloat-abi=hard -mfpu=fpv5-sp-d16")
set(float_cortex-m55 "-mfloat-abi=hard -mfpu=auto")
if(NOT DEFINED float_${TARGET_CPU})
  message(FATAL_ERROR "TARGET_CPU is '${TARGET_CPU}'; it must be cortex-m0, -m0plus, -m3, -m4, -m7, -m33 or -m55")
endif()
set(CMAKE_C_FLAGS_INIT "-mcpu=${TARGET_CPU} -mthumb ${float_${TARGET_CPU}} -ffunction-sections -fdata-sections")
