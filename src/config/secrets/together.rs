//! Files that are only good together: a certificate and its key.

use super::deliver::Failure;
use super::{Reference, Value};
use crate::config::decode::{At, Decoder};
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Why files can't be used together: the position of the one to report, and the reason.
pub(in crate::config) struct Mismatch {
    pub(in crate::config) at: usize,
    pub(in crate::config) failure: Failure,
}

impl Decoder<'_> {
    /// Returns the content of the files, converted by `accept`; else what the owner last read there, all of it: half of an
    /// old pair is as bad as half of a new one. `None` if there is neither, which refuses the file. A problem was reported.
    pub(in crate::config) fn deliver_together<T, const N: usize>(
        &self,
        files: [(&At<'_>, &Path); N],
        accept: impl Fn([&[u8]; N]) -> Result<T, Mismatch>,
    ) -> Option<T> {
        let references = files.map(|(_, path)| Reference::Certificate(path));
        let failure = match self.read_together(files).and_then(|read| {
            let value = accept(read.each_ref().map(|bytes| bytes.as_slice()))?;
            Ok((value, read))
        }) {
            Ok((value, read)) => {
                for (reference, bytes) in references.into_iter().zip(read) {
                    self.secrets.remember(reference, Arc::new(bytes));
                }
                return Some(value);
            }
            Err(failure) => failure,
        };
        let last: Vec<Value> =
            references.iter().filter_map(|reference| self.secrets.last(*reference)).collect();
        let value = <&[Value; N]>::try_from(last.as_slice())
            .ok()
            .and_then(|last| accept(last.each_ref().map(|bytes| bytes.as_slice())).ok());
        let Mismatch { at, mut failure } = failure;
        let place = files[at].0;
        self.secrets.note_unread(place.to_string(), failure.fault);
        if value.is_some() {
            for (reference, bytes) in references.into_iter().zip(last) {
                self.secrets.remember(reference, bytes);
            }
            let stays = "the last ones that were read stay in use".to_owned();
            failure.help = Some(failure.help.map_or(stays.clone(), |help| format!("{stays}; {help}")));
        }
        let finding = failure.finding(self.place(place));
        self.report(if value.is_some() { finding.tolerated() } else { finding });
        value
    }

    fn read_together<const N: usize>(
        &self,
        files: [(&At<'_>, &Path); N],
    ) -> Result<[Zeroizing<Vec<u8>>; N], Mismatch> {
        let mut contents = [const { Vec::new() }; N].map(Zeroizing::new);
        for (at, ((place, path), content)) in files.into_iter().zip(&mut contents).enumerate() {
            let reference = Reference::Certificate(path);
            let read = self.secrets.read(reference);
            *content =
                read.map_err(|error| Mismatch { at, failure: self.unread(place, reference, error) })?;
        }
        Ok(contents)
    }
}
