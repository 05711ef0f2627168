//! Entries that could not be written: each is kept in memory, excludes other processes, and is written later.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_full_disk_shows_before_a_token_is_spent_that_may_rotate() {
    let world = World::new();
    world.memory.full.store(true, Ordering::SeqCst);
    let failure = world.renew(&world.process(), &seeded()).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Unavailable(Unavailability::State));
    assert_eq!(world.calls(), 0);
    world.memory.full.store(false, Ordering::SeqCst);
    world.idp.keeps.store(true, Ordering::SeqCst);
    assert!(world.renew(&world.process(), &seeded()).await.is_ok());
    world.memory.full.store(true, Ordering::SeqCst);
    world.memory.fails_to_write.store(true, Ordering::SeqCst);
    assert!(world.renew(&world.process(), &seeded()).await.is_ok(), "this one does not rotate");
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_could_not_be_written_is_kept_in_memory_and_written_later() {
    let world = World::new();
    let tokens = world.tokens();
    let process = world.account(&tokens);
    world.memory.fails_to_write.store(true, Ordering::SeqCst);
    assert_eq!(world.renew(&process, &seeded()).await.unwrap(), "access-1");
    let again = process.refresh(&seeded(), Some(&replaced("access-1")), false).await;
    assert_eq!(token(again).unwrap(), "access-2");
    world.memory.fails_to_write.store(false, Ordering::SeqCst);
    // The account has changed meanwhile.
    let config = OAuth2 { client_auth: ClientAuth::Post(vec![Secret::new("new")]), ..seeded() };
    let third = world.account(&tokens).refresh(&config, Some(&replaced("access-2")), false).await;
    assert_eq!(token(third).unwrap(), "access-3");
    assert_eq!(world.kept(&seeded()).await, kept("3", 3));
}

#[tokio::test(start_paused = true)]
async fn no_other_process_sends_a_token_whose_successor_could_not_be_written() {
    let world = World::new();
    let (tokens, other) = (world.tokens(), world.process());
    let process = world.account(&tokens);
    world.memory.fails_to_write.store(true, Ordering::SeqCst);
    assert_eq!(world.renew(&process, &seeded()).await.unwrap(), "access-1");
    let failure = token(other.refresh(&seeded(), None, true).await).unwrap_err();
    assert_eq!(failure.cause, Cause::Unavailable(Unavailability::Locked));
    // It can't be written yet, and the look of another account tries as well.
    assert!(matches!(looks(&process, &seeded()).await, Looked::Unchanged));
    world.memory.fails_to_write.store(false, Ordering::SeqCst);
    assert!(is_gone(&looks(&world.account(&tokens), &device()).await));
    assert_eq!(token(other.refresh(&seeded(), None, false).await).unwrap(), "access-1");
    assert_eq!((world.kept(&seeded()).await, world.calls()), (kept("1", 1), 1));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_without_rotation_does_not_give_a_spent_token_to_others() {
    let world = World::new();
    let (tokens, other) = (world.tokens(), world.process());
    let process = world.account(&tokens);
    world.memory.fails_to_write.store(true, Ordering::SeqCst);
    assert_eq!(world.renew(&process, &seeded()).await.unwrap(), "access-1");
    // The refresh token of this entry stays good, but the one on the disk is spent.
    world.idp.keeps.store(true, Ordering::SeqCst);
    let again = process.refresh(&seeded(), Some(&replaced("access-1")), false).await;
    assert!(token(again).is_ok());
    let calls = world.calls();
    let failure = token(other.refresh(&seeded(), None, true).await).unwrap_err();
    assert_eq!(failure.cause, Cause::Unavailable(Unavailability::Locked));
    assert_eq!(world.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn the_lock_of_an_entry_that_could_not_be_written_ends_with_its_process() {
    let world = World::new();
    let process = world.process();
    world.memory.fails_to_write.store(true, Ordering::SeqCst);
    assert!(world.renew(&process, &seeded()).await.is_ok());
    drop(process);
    world.memory.fails_to_write.store(false, Ordering::SeqCst);
    // Lost with the process, which cannot be known.
    let failure = token(world.process().refresh(&seeded(), None, false).await).unwrap_err();
    assert!(matches!(failure.cause, Cause::GrantGone { code: Some(_) }));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_goes_to_the_store_of_a_changed_key() {
    let world = World::new();
    let tokens = world.tokens();
    let process = world.account(&tokens);
    world.memory.fails_to_write.store(true, Ordering::SeqCst);
    assert!(world.renew(&process, &seeded()).await.is_ok());
    let changed = Arc::new(Memory::default());
    tokens.store.set(changed.clone());
    assert!(tokens.finish().await);
    let stored = changed.slot(&store_key("erp", &seeded())).lock().await.0.clone();
    assert_eq!(stored.unwrap().refresh_token, Some(Secret::new("1")));
}

#[tokio::test(start_paused = true)]
async fn a_login_counts_before_an_entry_that_could_not_be_written() {
    let world = World::new();
    let process = world.process();
    // Only an entry whose refresh token is not spent leaves the lock to others.
    world.idp.keeps.store(true, Ordering::SeqCst);
    world.write(&device(), Entry { revision: 0, ..stub::entry("erp", &device(), "0", world.now()) }).await;
    world.memory.fails_to_write.store(true, Ordering::SeqCst);
    assert!(world.renew(&process, &device()).await.is_ok());
    world.memory.fails_to_write.store(false, Ordering::SeqCst);
    world.idp.keeps.store(false, Ordering::SeqCst);
    *world.idp.valid.lock().unwrap() = 70;
    let login = stub::entry("erp", &device(), "70", world.now() + Duration::from_secs(60));
    world.write(&device(), login).await;
    assert!(world.renew(&process, &device()).await.is_ok());
    assert_eq!(world.kept(&device()).await, kept("71", 2));
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_could_not_be_written_does_not_undo_a_later_refusal() {
    let world = World::new();
    let (process, other) = (world.process(), world.process());
    world.idp.keeps.store(true, Ordering::SeqCst);
    world.write(&device(), stub::entry("erp", &device(), "0", world.now())).await;
    world.memory.fails_to_write.store(true, Ordering::SeqCst);
    assert!(world.renew(&process, &device()).await.is_ok());
    world.memory.fails_to_write.store(false, Ordering::SeqCst);
    world.idp.revoked.store(true, Ordering::SeqCst);
    assert!(world.renew(&other, &device()).await.is_err());
    // It tries to write what is left.
    looks(&process, &device()).await;
    assert_eq!(world.kept(&device()).await, Some(("0".into(), 2, true)));
}
