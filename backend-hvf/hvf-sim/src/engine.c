// SPDX-License-Identifier: GPL-2.0-or-later
// One processor of Unicorn whose EL2 belongs to us: loads and saves the state of a vCPU, runs it, and tells of exceptions to EL2.
#include "qemu/osdep.h"
#include "cpu.h"
#include "internals.h"
#include "kvm-consts.h"
#include "exec/exec-all.h"
#include "uc_priv.h"
#include <unicorn/unicorn.h>
#include "exec/ramlist.h"
#include "exec/ram_addr.h"
#include "accel/tcg/translate-all.h"

#define KEY(op0, op1, crn, crm, op2) ENCODE_AA64_CP_REG(CP_REG_ARM64_SYSREG_CP, crn, crm, op0, op1, op2)
// A bit of interrupt_request that no interrupt of the target uses: it makes the main loop call exec_interrupt every time.
#define WATCH CPU_INTERRUPT_TGT_INT_2
#define ID_REGISTERS 32
#define CPU_MODEL_MAX 3
#define COUNTER_FREQUENCY 24000000

// HCR_EL2: stage 2, FIQ/IRQ/SError belong to EL2, WFI and SMC trap, EL1 is AArch64, LOR registers trap, PAuth does not.
#define HCR_VALUE (HCR_VM | HCR_FMO | HCR_IMO | HCR_AMO | HCR_TWI | HCR_TSC | HCR_RW | HCR_TLOR | HCR_API | HCR_APK)
// SCR_EL3: EL2 and below are non-secure AArch64, HVC works. Without API and APK here too PAuth instructions trap to EL3.
#define SCR_VALUE (SCR_NS | SCR_HCE | SCR_RW | SCR_API | SCR_APK)

// A vCPU while it is not on the processor. A whole ARMCPU, since QEMU's helpers look around the registers.
struct context {
    ARMCPU cpu;
    uint64_t id[ID_REGISTERS]; // ID_AA64*, by CRm - 4 and op2
};

struct exit {
    uint32_t kind; // 0: stopped; 1: exception to EL2; 2: the processor gave up, syndrome is Unicorn's error
    uint32_t padding;
    uint64_t syndrome, virtual_address, physical_address;
};

static uc_engine *engine;
static struct context *loaded; // whose ID registers the guest reads
static struct exit event;
static int stop;               // atomic

static CPUState *processor(void) { return engine->cpu; }
static CPUARMState *registers(void) { return engine->cpu->env_ptr; }

// --- Leaving the guest ------------------------------------------------------------------------------------------------
// uc_emu_stop() is lost when it comes before uc_emu_start() has begun. So there is a flag of our own, which the main loop
// asks before each chain of translated blocks, and the flag that breaks the chain (icount_decr), which the loop clears just before.

static void break_chain(void) { __atomic_store_n(&processor()->icount_decr_ptr->u16.high, -1, __ATOMIC_SEQ_CST); }

void hvf_sim_stop(void) {
    __atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
    break_chain();
}

void hvf_sim_clear_stop(void) { __atomic_store_n(&stop, 0, __ATOMIC_SEQ_CST); }

static bool exec_interrupt(CPUState *cpu, int request) {
    // Between the loop's "icount_decr = 0" and the look at `stop`: a store must not pass a load here.
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (event.kind || __atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
        engine->stop_request = true;
        cpu->exit_request = 1;
        return false; // and no interrupt is taken on the way out, which would move PC under the exit
    }
    return arm_cpu_exec_interrupt(cpu, request & ~WATCH);
}

// --- Memory -----------------------------------------------------------------------------------------------------------

static MemoryRegion *ram_of(uint64_t virtual_address, uint64_t *offset) {
    MemTxAttrs attributes = {0};
    hwaddr page = arm_cpu_get_phys_page_attrs_debug(processor(), virtual_address & ~0xfffull, &attributes);
    if (page == (hwaddr)-1) return NULL;
    hwaddr address = page | (virtual_address & 0xfff);
    MemoryRegion *region = engine->memory_mapping(engine, address);
    if (!region || !region->ram_block) return NULL;
    *offset = address - region->addr;
    return region;
}

int hvf_sim_map(uint64_t address, void *host, uint64_t size) {
    return uc_mem_map_ptr(engine, address, size, UC_PROT_ALL, host);
}
int hvf_sim_unmap(uint64_t address, uint64_t size) { return uc_mem_unmap(engine, address, size); }
void hvf_sim_flush_translations(void) { tlb_flush(processor()); }
void hvf_sim_flush_code(void) { tb_flush(processor()); }

// --- System registers that are other than QEMU's ------------------------------------------------------------------------

static ARMCPRegInfo *info_of(int op0, int op1, int crn, int crm, int op2) {
    return (ARMCPRegInfo *)get_arm_cp_reginfo(ARM_CPU(processor())->cp_regs, KEY(op0, op1, crn, crm, op2));
}

static CPAccessResult trap(CPUARMState *env, const ARMCPRegInfo *info, bool read) { return CP_ACCESS_TRAP_EL2; }

static uint64_t id_read(CPUARMState *env, const ARMCPRegInfo *info) {
    return loaded ? loaded->id[(info->crm - 4) * 8 + info->opc2] : 0;
}

uint64_t hvf_sim_counter(void) {
    struct timespec time;
#ifdef __APPLE__
    clock_gettime(CLOCK_UPTIME_RAW, &time);
#else
    clock_gettime(CLOCK_MONOTONIC, &time);
#endif
    return (uint64_t)time.tv_sec * COUNTER_FREQUENCY + (uint64_t)time.tv_nsec * (COUNTER_FREQUENCY / 1000000) / 1000;
}

static uint64_t virtual_counter(CPUARMState *env) { return hvf_sim_counter() - env->cp15.cntvoff_el2; }
static uint64_t counter_read(CPUARMState *env, const ARMCPRegInfo *info) { return virtual_counter(env); }
static uint64_t control_of(CPUARMState *env) {
    uint64_t control = env->cp15.c14_timer[GTIMER_VIRT].ctl & 3;
    bool met = virtual_counter(env) >= env->cp15.c14_timer[GTIMER_VIRT].cval;
    return control | ((control & 1) && met ? 4 : 0);
}
static uint64_t control_read(CPUARMState *env, const ARMCPRegInfo *info) { return control_of(env); }
static uint64_t delay_read(CPUARMState *env, const ARMCPRegInfo *info) {
    return (uint32_t)(env->cp15.c14_timer[GTIMER_VIRT].cval - virtual_counter(env));
}
// Unicorn has no timers. A new deadline leaves the guest, and the run loop sees to it.
static void control_write(CPUARMState *env, const ARMCPRegInfo *info, uint64_t value) {
    env->cp15.c14_timer[GTIMER_VIRT].ctl = value & 3;
    hvf_sim_stop();
}
static void compare_write(CPUARMState *env, const ARMCPRegInfo *info, uint64_t value) {
    env->cp15.c14_timer[GTIMER_VIRT].cval = value;
    hvf_sim_stop();
}
static void delay_write(CPUARMState *env, const ARMCPRegInfo *info, uint64_t value) {
    env->cp15.c14_timer[GTIMER_VIRT].cval = virtual_counter(env) + (int64_t)(int32_t)value;
    hvf_sim_stop();
}

// IC does nothing in QEMU, which watches stores instead. But it does not see stores through a second mapping of a page.
static void invalidate_line(CPUARMState *env, const ARMCPRegInfo *info, uint64_t address) {
    uint64_t offset;
    MemoryRegion *region = ram_of(address & ~63ull, &offset);
    if (!region) return;
    ram_addr_t start = region->ram_block->offset + offset;
    tb_invalidate_phys_range(engine, start, start + 64);
}
static void invalidate_all(CPUARMState *env, const ARMCPRegInfo *info, uint64_t value) { tb_flush(env_cpu(env)); }

static void set_write(ARMCPRegInfo *info, CPWriteFn *write) {
    if (!info) return;
    info->type = ARM_CP_NO_RAW;
    info->writefn = write;
}

static void change_registers(void) {
    for (int crm = 4; crm < 8; crm++)
        for (int op2 = 0; op2 < 8; op2++) {
            ARMCPRegInfo *info = info_of(3, 0, 0, crm, op2);
            if (!info) continue;
            info->type = ARM_CP_NO_RAW;
            info->readfn = id_read;
            info->writefn = NULL;
        }
    ARMCPRegInfo *info = info_of(3, 3, 14, 0, 0); // CNTFRQ_EL0
    info->type = ARM_CP_CONST;
    info->resetvalue = COUNTER_FREQUENCY;
    info_of(3, 3, 14, 0, 2)->readfn = counter_read; // CNTVCT_EL0
    info = info_of(3, 3, 14, 3, 0);                 // CNTV_TVAL_EL0
    info->readfn = delay_read;
    info->writefn = delay_write;
    info = info_of(3, 3, 14, 3, 1); // CNTV_CTL_EL0
    info->readfn = control_read;
    info->writefn = control_write;
    info_of(3, 3, 14, 3, 2)->writefn = compare_write; // CNTV_CVAL_EL0
    set_write(info_of(1, 3, 7, 5, 1), invalidate_line); // IC IVAU
    set_write(info_of(1, 0, 7, 5, 0), invalidate_all);  // IC IALLU
    set_write(info_of(1, 0, 7, 1, 0), invalidate_all);  // IC IALLUIS
    info_of(3, 0, 1, 0, 1)->accessfn = trap;            // ACTLR_EL1
    info_of(2, 0, 0, 2, 0)->accessfn = trap;            // MDCCINT_EL1
}

// --- Exceptions ---------------------------------------------------------------------------------------------------------

// The instruction at PC, or 0, which is none.
static uint32_t instruction(CPUARMState *env) {
    uint64_t offset;
    uint32_t word = 0;
    MemoryRegion *region = ram_of(env->pc, &offset);
    if (region) memcpy(&word, region->ram_block->host + offset, 4);
    return word;
}

// A load or store that writes its base back has no instruction syndrome (Arm ARM, ISS of a data abort: ISV). This QEMU gives one.
static bool writes_back(uint32_t word) { return (word & 0x3b200400) == 0x38000400; }

// An MSR or MRS of a register that QEMU does not know is UNDEFINED there. At EL1 we let it come to EL2, as a processor does
// whose hypervisor traps everything that it does not hand to the guest.
static bool unknown_register(CPUARMState *env, uint32_t number) {
    if (number != EXCP_UDEF || env->exception.target_el != 1 || env->exception.syndrome >> ARM_EL_EC_SHIFT
        || arm_current_el(env) != 1)
        return false;
    uint32_t word = instruction(env);
    uint32_t op1 = extract32(word, 16, 3);
    if ((word & 0xffd00000) != 0xd5100000 || op1 > 3) return false;
    env->exception.target_el = 2;
    env->exception.syndrome = syn_aa64_sysregtrap(2 + extract32(word, 19, 1), op1, extract32(word, 5, 3), extract32(word, 12, 4),
                                                  extract32(word, 8, 4), extract32(word, 0, 5), extract32(word, 21, 1));
    env->exception.vaddress = 0;
    return true;
}

static void on_exception(uc_engine *uc, uint32_t number, void *data) {
    CPUState *cpu = processor();
    CPUARMState *env = registers();
    if (number >= EXCP_INTERRUPT) return;
    unknown_register(env, number);
    if (env->exception.target_el == 3) { // there is no EL3: what QEMU would route there (SVE) is unknown to the guest
        env->exception.target_el = 1;
        env->exception.syndrome = syn_uncategorized();
        number = EXCP_UDEF;
    }
    if (env->exception.target_el == 2 || number == EXCP_HVC || number == EXCP_SMC) {
        uint64_t fault = env->exception.vaddress;
        event.kind = 1;
        event.syndrome = env->exception.syndrome;
        if (event.syndrome >> ARM_EL_EC_SHIFT == EC_DATAABORT && writes_back(instruction(env)))
            event.syndrome &= ~0x1ffc000ull; // ISV to AR
        uint32_t class = env->exception.syndrome >> ARM_EL_EC_SHIFT;
        bool abort = class == EC_DATAABORT || class == EC_INSNABORT;
        event.virtual_address = abort ? fault : 0;
        event.physical_address = abort ? (env->cp15.hpfar_el2 >> 4) << 12 | (fault & 0xfff) : 0;
    } else {
        cpu->exception_index = number;
        arm_cpu_do_interrupt(cpu); // Unicorn itself delivers no exception to the guest
    }
}

// Unicorn looks through the whole TLB after each translation, for pages where stores had stopped to be watched: a tenth of a
// guest's start. It does so unless there is a hook on memory at the code's (virtual) address, while stores go by the hooks at
// their physical address. So there is one where virtual addresses are, but none of what is mapped, of a kind that never calls.
// Guests lose nothing: new code is seen by IC, as on a processor.
#define HOOK_START (UINT64_C(1) << 42)

static bool on_fetch_refused(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value, void *data) { return false; }

// --- Life of the processor ----------------------------------------------------------------------------------------------

int hvf_sim_open(uint64_t tables, void *host, uint64_t size) {
    uc_hook hook;
    int error = uc_open(UC_ARCH_ARM64, UC_MODE_ARM, &engine);
    if (error) return error;
    uc_ctl_set_cpu_model(engine, CPU_MODEL_MAX);
    // No address ends a run: "until" would be compared with the guest's virtual addresses.
    uc_ctl_exits_enable(engine);
    uc_ctl_set_exits(engine, NULL, 0);
    // Leave between blocks only: the check after a memory access would carry the access out twice.
    engine->no_exit_request = 1;
    error = uc_hook_add(engine, &hook, UC_HOOK_INTR, on_exception, NULL, 1, 0);
    if (!error) error = uc_hook_add(engine, &hook, UC_HOOK_MEM_FETCH_PROT, on_fetch_refused, NULL, HOOK_START, UINT64_MAX);
    if (!error) error = hvf_sim_map(tables, host, size);
    if (error) {
        uc_close(engine);
        engine = NULL;
        return error;
    }
    change_registers();
    processor()->cc->cpu_exec_interrupt = exec_interrupt;
    loaded = NULL;
    stop = 0;
    return 0;
}

void hvf_sim_close(void) {
    uc_close(engine);
    engine = NULL;
    loaded = NULL;
}

// --- vCPUs --------------------------------------------------------------------------------------------------------------

// What is the same of every vCPU: `bits` of guest-physical address, stage-2 tables at `tables`. Call with the processor idle.
struct context *hvf_sim_context(uint64_t tables, uint32_t bits) {
    struct context *context = calloc(1, sizeof *context);
    if (!context) return NULL;
    for (int crm = 4; crm < 8; crm++)
        for (int op2 = 0; op2 < 8; op2++) context->id[(crm - 4) * 8 + op2] = 0;
    memcpy(&context->cpu, ARM_CPU(processor()), sizeof context->cpu);
    CPUARMState *env = &context->cpu.env;
    memset(env->xregs, 0, sizeof env->xregs);
    env->pc = 0;
    env->cp15.scr_el3 = SCR_VALUE;
    env->cp15.hcr_el2 = HCR_VALUE;
    env->cp15.cnthctl_el2 = 0; // the physical timer and counter trap
    env->cp15.mdcr_el2 = MDCR_TPM | MDCR_TPMCR | MDCR_TDOSA | MDCR_TDRA;
    // Stage 2: 4 KiB granule from level 1, inner shareable write-back, 44 bits of output.
    env->cp15.vtcr_el2.raw_tcr = (64 - bits) | 1 << 6 | 1 << 8 | 1 << 10 | 3 << 12 | 4 << 16 | 1u << 31;
    env->cp15.vttbr_el2 = tables;
    env->aarch64 = 1;
    pstate_write(env, PSTATE_DAIF | PSTATE_MODE_EL1h);
    return context;
}

void hvf_sim_free(struct context *context) {
    if (loaded == context) loaded = NULL;
    free(context);
}

// QEMU's own fields begin at cpu_watchpoint: all before it is the guest's.
#define STATE_SIZE offsetof(CPUARMState, cpu_breakpoint)

static bool has_breakpoints(CPUARMState *env) {
    uint64_t any = 0;
    for (int i = 0; i < 16; i++) any |= env->cp15.dbgbcr[i] | env->cp15.dbgwcr[i];
    return any & 1;
}

void hvf_sim_load(struct context *context, int flush) {
    CPUARMState *env = registers();
    bool breakpoints = has_breakpoints(env) || has_breakpoints(&context->cpu.env);
    memcpy(env, &context->cpu.env, STATE_SIZE);
    if (breakpoints) {
        hw_breakpoint_update_all(ARM_CPU(processor()));
        hw_watchpoint_update_all(ARM_CPU(processor()));
    }
    arm_rebuild_hflags(env);
    if (flush || loaded != context) tlb_flush(processor());
    loaded = context;
}

// Runs what is loaded, until `event` or hvf_sim_stop(), and saves it.
void hvf_sim_run(struct context *context, int irq, int fiq, struct exit *exit) {
    CPUState *cpu = processor();
    CPUARMState *env = registers();
    uint32_t lines = (irq ? CPU_INTERRUPT_VIRQ : 0) | (fiq ? CPU_INTERRUPT_VFIQ : 0);
    memset(&event, 0, sizeof event);
    env->irq_line_state = lines;
    cpu->interrupt_request = WATCH | lines;
    int error = uc_emu_start(engine, env->pc, ~0ull, 0, 0);
    cpu->interrupt_request = 0;
    env->irq_line_state = 0;
    memcpy(&context->cpu.env, env, STATE_SIZE);
    if (error && !event.kind) {
        event.kind = 2;
        event.syndrome = error;
    }
    *exit = event;
}

// --- Registers of a vCPU that is not on the processor -------------------------------------------------------------------

uint64_t hvf_sim_x(struct context *context, uint32_t number) { return context->cpu.env.xregs[number]; }
void hvf_sim_set_x(struct context *context, uint32_t number, uint64_t value) { context->cpu.env.xregs[number] = value; }
uint64_t hvf_sim_pc(struct context *context) { return context->cpu.env.pc; }
void hvf_sim_set_pc(struct context *context, uint64_t value) { context->cpu.env.pc = value; }
uint64_t hvf_sim_pstate(struct context *context) { return pstate_read(&context->cpu.env); }

// X31 holds the stack pointer in use, sp_el[] the others.
static uint32_t stack_in_use(CPUARMState *env) { return env->pstate & PSTATE_SP ? extract32(env->pstate, 2, 2) : 0; }

void hvf_sim_set_pstate(struct context *context, uint64_t value) {
    CPUARMState *env = &context->cpu.env;
    env->sp_el[stack_in_use(env)] = env->xregs[31];
    pstate_write(env, value);
    env->xregs[31] = env->sp_el[stack_in_use(env)];
}
uint64_t hvf_sim_stack(struct context *context, uint32_t el) {
    CPUARMState *env = &context->cpu.env;
    return el == stack_in_use(env) ? env->xregs[31] : env->sp_el[el];
}
void hvf_sim_set_stack(struct context *context, uint32_t el, uint64_t value) {
    CPUARMState *env = &context->cpu.env;
    if (el == stack_in_use(env)) env->xregs[31] = value;
    else env->sp_el[el] = value;
}

uint32_t hvf_sim_fpcr(struct context *context) { return vfp_get_fpcr(&context->cpu.env); }
void hvf_sim_set_fpcr(struct context *context, uint32_t value) { vfp_set_fpcr(&context->cpu.env, value); }
uint32_t hvf_sim_fpsr(struct context *context) { return vfp_get_fpsr(&context->cpu.env); }
void hvf_sim_set_fpsr(struct context *context, uint32_t value) { vfp_set_fpsr(&context->cpu.env, value); }
void hvf_sim_vector(struct context *context, uint32_t number, void *value) {
    memcpy(value, &context->cpu.env.vfp.zregs[number], 16);
}
void hvf_sim_set_vector(struct context *context, uint32_t number, const void *value) {
    memcpy(&context->cpu.env.vfp.zregs[number], value, 16);
}

uint64_t *hvf_sim_id(struct context *context, uint32_t index) { return &context->id[index & (ID_REGISTERS - 1)]; }

// The field behind a system register, by the number that Hypervisor.framework gives it (op0<1:0> op1 CRn CRm op2).
static uint64_t *field_of(struct context *context, uint32_t number) {
    ARMCPRegInfo *info = (ARMCPRegInfo *)get_arm_cp_reginfo(
        context->cpu.cp_regs, KEY(number >> 14, number >> 11 & 7, number >> 7 & 15, number >> 3 & 15, number & 7));
    if (!info || info->type & (ARM_CP_CONST | ARM_CP_NO_RAW) || info->fieldoffset == 0
        || info->fieldoffset > STATE_SIZE - 8)
        return NULL;
    return (uint64_t *)((char *)&context->cpu.env + info->fieldoffset);
}
int hvf_sim_system(struct context *context, uint32_t number, uint64_t *value) {
    uint64_t *field = field_of(context, number);
    if (field) *value = *field;
    return field != NULL;
}
int hvf_sim_set_system(struct context *context, uint32_t number, uint64_t value) {
    uint64_t *field = field_of(context, number);
    if (field) *field = value;
    return field != NULL;
}
// A constant of the processor model: ID and cache registers.
uint64_t hvf_sim_constant(uint32_t number) {
    ARMCPRegInfo *info = info_of(number >> 14, number >> 11 & 7, number >> 7 & 15, number >> 3 & 15, number & 7);
    return info ? info->resetvalue : 0;
}
void hvf_sim_set_affinity(struct context *context, uint64_t mpidr) { context->cpu.env.cp15.vmpidr_el2 = mpidr; }
void hvf_sim_set_main(struct context *context, uint64_t midr) { context->cpu.env.cp15.vpidr_el2 = midr; }
void hvf_sim_trap_debug(struct context *context, int registers, int exceptions) {
    uint64_t *value = &context->cpu.env.cp15.mdcr_el2;
    *value = (*value & ~(uint64_t)(MDCR_TDA | MDCR_TDE)) | (registers ? MDCR_TDA : 0) | (exceptions ? MDCR_TDE : 0);
}

struct timer {
    uint64_t control, compare, offset;
};
void hvf_sim_timer(struct context *context, struct timer *timer) {
    CPUARMState *env = &context->cpu.env;
    timer->control = control_of(env);
    timer->compare = env->cp15.c14_timer[GTIMER_VIRT].cval;
    timer->offset = env->cp15.cntvoff_el2;
}
void hvf_sim_set_timer(struct context *context, const struct timer *timer) {
    CPUARMState *env = &context->cpu.env;
    env->cp15.c14_timer[GTIMER_VIRT].ctl = timer->control & 3;
    env->cp15.c14_timer[GTIMER_VIRT].cval = timer->compare;
    env->cp15.cntvoff_el2 = timer->offset;
}
