/* SPDX-License-Identifier: Apache-2.0 */
/* QEMU plugin: what each instruction did during the first inference of a firmware, layer by layer.
 *
 *   -plugin count.so,out=FILE,flash=ORIGIN:BYTES,begin=ADDRESS,end=ADDRESS,layer=INDEX:ADDRESS,...     (numbers in hex)
 *
 * Counting starts when the CPU reaches `begin` and stops when it reaches `end`; each `layer` address closes the layer INDEX.
 * What comes after the last layer goes under the number of layers. FILE gets one line of decimals an instruction and layer:
 *
 *   layer address size executions taken flash_reads ram_reads stores unaligned
 *
 * `taken`: times the next instruction in memory was not the next one to run. Loads and stores count one an access, as QEMU
 * makes them: LDM of four registers is four. `unaligned`: accesses at an address that their size does not divide. */
#include "qemu_plugin_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXECUTIONS, TAKEN, FLASH_READS, RAM_READS, STORES, UNALIGNED, COUNTERS };

#define BUCKETS 4096u
#define MAX_LAYERS 1024u

struct instruction {
  uint64_t address, size;
  uint64_t now[COUNTERS];           /* in the layer that is running */
  uint64_t (*layers)[COUNTERS];     /* in those that have run */
  struct instruction *next;
};

/* A run of instructions that QEMU translated as one. */
struct block {
  uint64_t start, end;
  struct instruction *last;
};

QEMU_PLUGIN_EXPORT int qemu_plugin_version = 1;

static qemu_plugin_id_t plugin;
static struct instruction *buckets[BUCKETS];
static const struct block *previous;
static uint64_t flash_origin, flash_bytes, begin, end, layer_end[MAX_LAYERS];
static size_t layer_count;
static FILE *out;

static void *allocate(size_t count, size_t size) {
  void *memory = calloc(count, size);
  if (memory == NULL) {
    fputs("count: out of memory\n", stderr);
    exit(EXIT_FAILURE);
  }
  return memory;
}

static struct instruction *find(uint64_t address, size_t size) {
  struct instruction **head = &buckets[(address >> 1) % BUCKETS];
  for (struct instruction *entry = *head; entry != NULL; entry = entry->next) {
    if (entry->address == address) {
      return entry;
    }
  }
  struct instruction *entry = allocate(1, sizeof *entry);
  entry->address = address;
  entry->size = size;
  entry->layers = allocate(layer_count + 1, sizeof *entry->layers);
  entry->next = *head;
  *head = entry;
  return entry;
}

static void on_begin(unsigned int vcpu, void *user) {
  (void)vcpu, (void)user;
  for (size_t i = 0; i < BUCKETS; i++) {
    for (struct instruction *entry = buckets[i]; entry != NULL; entry = entry->next) {
      memset(entry->now, 0, sizeof entry->now);
    }
  }
}

static void on_layer_end(unsigned int vcpu, void *user) {
  (void)vcpu;
  for (size_t i = 0; i < BUCKETS; i++) {
    for (struct instruction *entry = buckets[i]; entry != NULL; entry = entry->next) {
      for (size_t counter = 0; counter < COUNTERS; counter++) {
        entry->layers[(uintptr_t)user][counter] += entry->now[counter];
      }
      memset(entry->now, 0, sizeof entry->now);
    }
  }
}

static void on_reset(qemu_plugin_id_t id) {
  (void)id;
}

static void on_end(unsigned int vcpu, void *user) {
  on_layer_end(vcpu, user);
  for (size_t i = 0; i < BUCKETS; i++) {
    for (const struct instruction *entry = buckets[i]; entry != NULL; entry = entry->next) {
      for (size_t layer = 0; layer <= layer_count; layer++) {
        const uint64_t *counters = entry->layers[layer];
        if (counters[EXECUTIONS] > 0) {
          fprintf(out, "%zu %llu %llu", layer, (unsigned long long)entry->address, (unsigned long long)entry->size);
          for (size_t counter = 0; counter < COUNTERS; counter++) {
            fprintf(out, " %llu", (unsigned long long)counters[counter]);
          }
          fputc('\n', out);
        }
      }
    }
  }
  fclose(out);
  qemu_plugin_reset(plugin, on_reset); /* the other inferences run at full speed */
}

static void on_block(unsigned int vcpu, void *user) {
  const struct block *block = user;
  (void)vcpu;
  if (previous != NULL && previous->end != block->start) {
    previous->last->now[TAKEN]++;
  }
  previous = block;
}

static void on_access(unsigned int vcpu, qemu_plugin_meminfo_t info, uint64_t address, void *user) {
  uint64_t *now = ((struct instruction *)user)->now;
  (void)vcpu;
  if (qemu_plugin_mem_is_store(info)) {
    now[STORES]++;
  } else {
    now[address - flash_origin < flash_bytes ? FLASH_READS : RAM_READS]++;
  }
  if ((address & ((UINT64_C(1) << qemu_plugin_mem_size_shift(info)) - 1)) != 0) {
    now[UNALIGNED]++;
  }
}

/* Bytes of a Thumb instruction. qemu_plugin_insn_size counts in what QEMU looks ahead at where a page ends. */
static size_t size_of(const struct qemu_plugin_insn *instruction) {
  const uint8_t *const bytes = qemu_plugin_insn_data(instruction);
  return bytes[1] >= 0xE8u ? 4u : 2u;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *translation) {
  struct block *block = allocate(1, sizeof *block);
  const size_t count = qemu_plugin_tb_n_insns(translation);
  (void)id;
  for (size_t i = 0; i < count; i++) {
    struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(translation, i);
    const uint64_t address = qemu_plugin_insn_vaddr(instruction);
    struct instruction *entry = find(address, size_of(instruction));
    if (i == 0) {
      block->start = address;
    }
    block->last = entry;
    block->end = address + entry->size;
    if (address == begin) {
      qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_begin, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
    for (size_t layer = 0; layer < layer_count; layer++) {
      if (address == layer_end[layer]) {
        qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_layer_end, QEMU_PLUGIN_CB_NO_REGS, (void *)layer);
      }
    }
    if (address == end) {
      qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_end, QEMU_PLUGIN_CB_NO_REGS, (void *)layer_count);
    }
    qemu_plugin_register_vcpu_insn_exec_inline(instruction, QEMU_PLUGIN_INLINE_ADD_U64, &entry->now[EXECUTIONS], 1);
    qemu_plugin_register_vcpu_mem_cb(instruction, on_access, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, entry);
  }
  qemu_plugin_register_vcpu_tb_exec_cb(translation, on_block, QEMU_PLUGIN_CB_NO_REGS, block);
}

static int parse(const char *argument) {
  unsigned long long first, second;
  if (sscanf(argument, "flash=%llx:%llx", &first, &second) == 2) {
    flash_origin = first, flash_bytes = second;
  } else if (sscanf(argument, "begin=%llx", &first) == 1) {
    begin = first;
  } else if (sscanf(argument, "end=%llx", &first) == 1) {
    end = first;
  } else if (sscanf(argument, "layer=%llx:%llx", &first, &second) == 2 && first == layer_count && layer_count < MAX_LAYERS) {
    layer_end[layer_count++] = second;
  } else if (strncmp(argument, "out=", 4) == 0) {
    out = fopen(argument + 4, "w");
  } else {
    fprintf(stderr, "count: bad argument %s\n", argument);
    return -1;
  }
  return 0;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
  (void)info;
  for (int i = 0; i < argc; i++) {
    if (parse(argv[i]) != 0) {
      return -1;
    }
  }
  if (out == NULL) {
    fputs("count: out=FILE is missing or cannot be written\n", stderr);
    return -1;
  }
  plugin = id;
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  return 0;
}
