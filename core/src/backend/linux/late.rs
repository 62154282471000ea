//! Binding late: files by the init, secrets and binds by a mounter of the keeper, limits in the cgroups.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};
use sandboxset_keeper::{
    BindLate, Bytes, FOREIGN_MOUNTS_STEP, FromInit, MOUNT_STEP, MounterResult, SECRETS_DIR, SecretFile,
    ToInit, ToKeeper, UnbindLate,
};

use super::cgroup::Tightened;
use super::init::Patience;
use super::sandbox::Inner;
use super::wait::{poll_until, readable};
use super::{fault, files};
use crate::{Error, ErrorCode, IsolationReport, LateBinding, LateLimits, LayerStatus, Phase, Result, Secret};

/// What has to be taken back.
#[derive(Default)]
pub(super) struct Late {
    /// Where something is mounted, and the mount points that were made for it.
    targets: Vec<Bytes>,
    made: Vec<Bytes>,
    tightened: Tightened,
}

/// Refuses limits that nothing on this host could enforce.
pub(super) fn check_limits(limits: &LateLimits, report: &IsolationReport) -> Result<()> {
    let wanted = [
        ("memory", "memory_bytes", limits.memory_bytes.is_some()),
        ("pids", "pids", limits.pids.is_some()),
        ("cpu", "cpus", limits.cpus.is_some()),
    ];
    for (layer, field, wanted) in wanted {
        let layer = report.layers.iter().find(|other| other.name == layer);
        if wanted && layer.is_none_or(|layer| layer.status != LayerStatus::Active) {
            let why = layer.map_or("no cgroup", |layer| &layer.detail);
            let message = format!("binding.limits.{field}: cannot be tightened late: {why}");
            return Err(Error::new(ErrorCode::Unsupported, Phase::Bind, message));
        }
    }
    Ok(())
}

/// Binds everything, or fails; then the sandbox is of no more use.
pub(super) fn bind(sandbox: &Inner, binding: &LateBinding, deadline: Instant) -> Result<()> {
    for file in &binding.files {
        files::write_late(sandbox, file)?;
    }
    if !(binding.secrets.is_empty() && binding.binds.is_empty()) {
        mount(sandbox, binding, deadline)?;
    }
    // Last, so that what was written counts.
    let tightened = sandbox.cgroups.tighten(&binding.limits)?;
    sandbox.late.lock().tightened = tightened;
    Ok(())
}

/// Takes limits and mounts back. Nothing is held that a failure would leave half done: the sandbox is destroyed then.
pub(super) fn unbind(sandbox: &Inner, deadline: Instant) -> Result<()> {
    let Late { targets, made, tightened } = std::mem::take(&mut *sandbox.late.lock());
    sandbox.cgroups.restore(tightened)?;
    if targets.is_empty() {
        return Ok(());
    }
    let request = ToKeeper::Unbind(UnbindLate { id: sandbox.id.get(), targets, made });
    let reply = start_mounter(sandbox, &request, None, deadline)?;
    answer(sandbox, &reply, deadline).map(drop)
}

fn mount(sandbox: &Inner, binding: &LateBinding, deadline: Instant) -> Result<()> {
    let file = |(name, secret): &(std::ffi::OsString, Secret)| SecretFile {
        name: name.as_bytes().to_vec(),
        length: secret.len() as u64,
    };
    let bind = |bind: &crate::Bind| (super::path_bytes(&bind.source), super::path_bytes(&bind.target));
    let request = BindLate {
        id: sandbox.id.get(),
        secrets: binding.secrets.iter().map(file).collect(),
        binds: binding.binds.iter().map(bind).collect(),
    };
    let mut targets: Vec<Bytes> = request.binds.iter().map(|(_, target)| target.clone()).collect();
    if !request.secrets.is_empty() {
        targets.push(SECRETS_DIR.as_bytes().to_vec());
    }
    let (stream, theirs) = pair(SocketType::STREAM)?;
    let reply = start_mounter(sandbox, &ToKeeper::Bind(request), Some(theirs), deadline)?;
    // If the mounter takes no more of them, its answer says why.
    send_all(&stream, binding.secrets.iter().map(|(_, secret)| secret), deadline)
        .map_err(|errno| fault::os(Phase::Bind, "the secrets could not be sent", errno))?;
    drop(stream);
    let made = answer(sandbox, &reply, deadline)?;
    let mut late = sandbox.late.lock();
    late.targets = targets;
    late.made = made;
    Ok(())
}

/// Has the keeper start a mounter; returns where it will answer.
fn start_mounter(
    sandbox: &Inner,
    request: &ToKeeper,
    secrets: Option<OwnedFd>,
    deadline: Instant,
) -> Result<OwnedFd> {
    let patience = Patience { deadline, cancel: None };
    let namespace = match sandbox.init.ask(Phase::Bind, &ToInit::OpenMounts, &[], &patience)? {
        (FromInit::Opened, Some(namespace)) => namespace,
        (FromInit::Failed(failure), _) => {
            return Err(Error::new(ErrorCode::Internal, Phase::Bind, fault::describe(&failure)));
        }
        _ => return Err(fault::hostile(Phase::Bind, sandbox.id, "an unexpected answer")),
    };
    let (reply, theirs) = pair(SocketType::SEQPACKET)?;
    let fds: Vec<_> = [&theirs, &namespace].into_iter().chain(&secrets).map(AsFd::as_fd).collect();
    sandbox.keeper.send_with(request, &fds).map_err(|error| error.with_phase(Phase::Bind))?;
    Ok(reply)
}

/// Sends the bytes of secrets, by no other way than the kernel's own memory. Stops when the other end is closed.
fn send_all<'a>(
    stream: &OwnedFd,
    secrets: impl Iterator<Item = &'a Secret>,
    deadline: Instant,
) -> Result<(), Errno> {
    for secret in secrets {
        let mut bytes = secret.expose();
        while !bytes.is_empty() {
            match rustix::net::send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if poll_until(&mut [PollFd::new(stream, PollFlags::OUT)], Some(deadline))? == 0 {
                        return Err(Errno::TIMEDOUT);
                    }
                }
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(())
}

/// The mounter's answer: the mount points that it made.
fn answer(sandbox: &Inner, reply: &OwnedFd, deadline: Instant) -> Result<Vec<Bytes>> {
    let error = |code, message: String| Error::new(code, Phase::Bind, message).with_sandbox(sandbox.id);
    let answered = readable(reply, Some(deadline))
        .map_err(|errno| fault::os(Phase::Bind, "waiting for the mounter failed", errno))?;
    if !answered {
        return Err(error(ErrorCode::Timeout, "the mounter did not answer in time".into()));
    }
    match sandboxset_keeper::receive::<MounterResult>(reply) {
        Ok((Ok(made), _)) => Ok(made),
        Ok((Err(failure), _)) if failure.step == FOREIGN_MOUNTS_STEP => {
            Err(fault::hostile(Phase::Bind, sandbox.id, "it opened other mounts than its own"))
        }
        Ok((Err(failure), _)) => {
            if let Some(refused) = fault::target("binding.binds.target", MOUNT_STEP, &failure) {
                return Err(refused.with_phase(Phase::Bind).with_sandbox(sandbox.id));
            }
            Err(error(fault::code_of(fault::errno(&failure)), fault::describe(&failure)))
        }
        Err(cause) => Err(error(ErrorCode::BackendUnavailable, "the mounter ended without an answer".into())
            .with_source(cause)),
    }
}

fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
        .map_err(|errno| fault::os(Phase::Bind, "no socket for the mounter", errno))
}
