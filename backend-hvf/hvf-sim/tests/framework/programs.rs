//! Guest programs in words of A64, beside what they say.

pub(crate) const EXITS: &[u32] = &[
    0xb900_0022, // str w2, [x1]
    0x7980_0423, // ldrsh x3, [x1, #2]
    0xa940_1424, // ldp x4, x5, [x1]
    0xf800_8422, // str x2, [x1], #8
    0xd400_00e2, // hvc #7
    0xd400_0003, // smc #0
    0xd503_207f, // wfi
    0xd510_1080, // msr oslar_el1, x0
    0xd538_f206, // mrs x6, s3_0_c15_c2_0
    0xd538_1027, // mrs x7, actlr_el1
    0xd530_0208, // mrs x8, mdccint_el1
    0xd53b_e029, // mrs x9, cntpct_el0
    0xd53b_9c0a, // mrs x10, pmcr_el0
    0xd400_0102, // hvc #8
];
pub(crate) const SPIN: &[u32] = &[
    0x1400_0000, // b .
];
pub(crate) const WAIT: &[u32] = &[
    0xd503_207f, // wfi
    0xd400_0122, // hvc #9
];
pub(crate) const IRQ: &[u32] = &[
    0xd538_cc00, // mrs x0, icc_iar1_el1
    0xd400_0022, // hvc #1
    0xd518_cc20, // msr icc_eoir1_el1, x0
    0xaa00_03f4, // mov x20, x0
    0xd69f_03e0, // eret
];
pub(crate) const FIQ: &[u32] = &[
    0xd538_c800, // mrs x0, icc_iar0_el1
    0xd400_0042, // hvc #2
    0xd518_c820, // msr icc_eoir0_el1, x0
    0xd69f_03e0, // eret
];
pub(crate) const OPEN: &[u32] = &[
    0xd503_43ff, // msr daifclr, #3
    0x1400_0000, // b .
];
pub(crate) const TIMER: &[u32] = &[
    0xd503_43ff, // msr daifclr, #3
    0xd51b_e341, // msr cntv_cval_el0, x1
    0xd280_0022, // mov x2, #1
    0xd51b_e322, // msr cntv_ctl_el0, x2
    0xd503_207f, // 1: wfi
    0x17ff_ffff, // b 1b
];
pub(crate) const SEND: &[u32] = &[
    0xd518_cba1, // msr icc_sgi1r_el1, x1
    0x1400_0000, // b .
];
pub(crate) const STORE: &[u32] = &[
    0xf900_0022, // str x2, [x1]
    0xd400_0062, // hvc #3
];
pub(crate) const FLAG: &[u32] = &[
    0xf900_0022, // str x2, [x1]
    0xf940_0083, // 1: ldr x3, [x4]
    0xb4ff_ffe3, // cbz x3, 1b
    0xd400_0082, // hvc #4
];
pub(crate) const GICMEM: &[u32] = &[
    0xb940_0423, // ldr w3, [x1, #4]
    0xb825_6824, // str w4, [x1, x5]
    0xb865_6826, // ldr w6, [x1, x5]
    0x3940_0047, // ldrb w7, [x2]
    0xd400_00a2, // hvc #5
];
pub(crate) const READ: &[u32] = &[
    0xf940_0023, // ldr x3, [x1]
    0xd53b_e004, // mrs x4, cntfrq_el0
    0xd538_0405, // mrs x5, id_aa64pfr0_el1
    0xd538_00a6, // mrs x6, mpidr_el1
    0xd400_00c2, // hvc #6
];
pub(crate) const HYPERCALL: &[u32] = &[
    0xd400_0022, // hvc #1
];
pub(crate) const CHANGE: &[u32] = &[
    0xb900_085f, // str wzr, [x2, #8]
    0xb900_085f, // str wzr, [x2, #8]
    0xd63f_0020, // blr x1
    0xaa00_03e4, // mov x4, x0
    0xb900_0043, // str w3, [x2]
    0xd50b_7b22, // dc cvau, x2
    0xd503_3b9f, // dsb ish
    0xd50b_7521, // ic ivau, x1
    0xd503_3b9f, // dsb ish
    0xd503_3fdf, // isb
    0xd63f_0020, // blr x1
    0xd400_0022, // hvc #1
];
pub(crate) const ONE: &[u32] = &[
    0xd280_0020, // mov x0, #1
    0xd65f_03c0, // ret
];
pub(crate) const SAY_TWO: u32 = 0xd280_0040; // mov x0, #2
