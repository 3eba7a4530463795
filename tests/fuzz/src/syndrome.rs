//! What the framework says of an exit.

use backend_hvf::{
    access::{Access, Registers},
    exception::{Exception, Interrupted},
    syndrome::Syndrome,
};

use crate::{Input, cores::Core};

/// Any syndrome. A transfer it describes is one step, which changes its register alone and moves PC on; an exception goes
/// to the vectors.
///
/// # Panics
/// The decoder or what follows from it breaks one of these.
pub fn syndrome(data: &[u8]) {
    let mut input = Input::new(data);
    while !input.is_empty() {
        let (esr, address, answer) = (input.u64(), input.u64(), input.u64());
        let Syndrome::DataAbort(abort) = Syndrome::decode(esr) else { continue };
        let Some(transfer) = abort.transfer else { continue };
        let mut core = Core::new();
        let before = core.clone();
        let Ok(mut access) = Access::of_syndrome(&transfer, abort.is_write, address, &core);
        let step = access.step().expect("one step");
        assert_eq!((step.address, step.size, step.store.is_some()), (address, transfer.size, abort.is_write));
        access.answer(answer);
        assert_eq!(access.step(), None);
        let Ok(()) = access.complete(&mut core);
        let mut expected = before;
        let Ok(()) = expected.advance();
        if !abort.is_write
            && let Some(x) = expected.x.get_mut(usize::from(transfer.register))
        {
            *x = core.x[usize::from(transfer.register)];
            assert!(transfer.is_64_bit || !transfer.is_sign_extended || *x <= u32::MAX.into());
        }
        assert_eq!(core, expected);

        let exception = Exception::ExternalDataAbort { address: answer, is_write: abort.is_write };
        let from = Interrupted { pc: address, pstate: answer, vector_base: esr << 11, control: answer };
        let taken = exception.take(&from);
        assert!(taken.pc.wrapping_sub(from.vector_base) < 0x800 && taken.pstate & 0x3df == 0x3c5);
    }
}
