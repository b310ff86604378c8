//! The phones among themselves, without an exchange: what they find wrong with each other is their own fault.

use crate::clock::{Agenda, GIVE_UP, MS, SECOND, Time};
use crate::network::{Arrival, Network, Path, Weather};
use crate::phone::call::Ending;
use crate::phone::traits::{Habits, Make, Profile, Quirks, Transport};
use crate::phone::{Out, Phone};
use crate::prng::Prng;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Two phones that know each other's address.
fn pair(seed: u64, drawn: bool, weather: Weather) -> (Vec<Phone>, Network) {
    let mut rng = Prng::new(seed);
    let address = |index: usize| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 0, index as u8 + 1)), 5060);
    let mut phones = Vec::new();
    let mut paths = Vec::new();
    for index in 0..2 {
        let other = address(1 - index);
        let mut habits = if drawn { Habits::drawn(&mut rng, "1".into()) } else { Habits::plain() };
        habits.messages = 0;
        // A phone that says nothing at all earns its caller's complaint.
        habits.reactions[7] = 0;
        let profile = Profile {
            index,
            extension: format!("20{index}"),
            password: String::new(),
            domain: address(index).to_string(),
            address: address(index),
            server: other,
            transport: Transport::Udp,
            registers: false,
            make: if drawn { Make::drawn(&mut rng) } else { Make::plain() },
            habits,
            quirks: Quirks::default(),
            book: vec![(1, other.to_string())],
        };
        phones.push(Phone::new(profile, rng.split(index as u64)));
        paths.push(Path { address: address(index), nat: None, weather, cut_until: 0, powered: true });
    }
    (phones, Network::new(rng.split(9), Vec::new(), paths))
}

fn play(phones: &mut [Phone], network: &mut Network, agenda: &mut Agenda<Arrival>, from: Time, until: Time) {
    let mut now = from;
    loop {
        for (index, phone) in phones.iter_mut().enumerate() {
            phone.tick(now);
            for out in std::mem::take(&mut phone.out) {
                if let Out::Datagram { to, bytes } = out {
                    network.datagram_from_phone(now, index, to, bytes);
                }
            }
        }
        for (at, arrival) in std::mem::take(&mut network.arrivals) {
            agenda.put(at, arrival);
        }
        let next = phones.iter().filter_map(Phone::deadline).chain(agenda.next_at()).min();
        match next {
            Some(at) if at <= until => now = at.max(now),
            _ => return,
        }
        if let Some(Arrival::DatagramAtPhone { phone, from, bytes }) = agenda.due(now) {
            phones[phone].receive(now, from, &bytes);
        }
    }
}

fn talk(seed: u64, drawn: bool, weather: Weather) -> Vec<Phone> {
    let (mut phones, mut network) = pair(seed, drawn, weather);
    let mut agenda = Agenda::default();
    phones.iter_mut().for_each(|phone| phone.boot(0));
    let end = 120 * SECOND;
    play(&mut phones, &mut network, &mut agenda, 0, end);
    phones.iter_mut().for_each(|phone| phone.stop(end));
    phones.iter_mut().for_each(Phone::freeze);
    network.paths.iter_mut().for_each(|path| path.weather = Weather::fair());
    play(&mut phones, &mut network, &mut agenda, end, end + 2 * GIVE_UP);
    phones
}

fn assert_sound(seed: u64, phones: &[Phone]) {
    for phone in phones {
        assert!(phone.complaints.is_empty(), "seed {seed}, phone {}: {:#?}", phone.profile.index, phone.complaints);
        assert!(phone.is_quiet(), "seed {seed}, phone {}: {}", phone.profile.index, phone.unfinished());
    }
}

#[test]
fn plain_phones_call_each_other() {
    let phones = talk(1, false, Weather::fair());
    assert_sound(1, &phones);
    let logs = phones.iter().flat_map(|phone| &phone.logs);
    let talked = logs.filter(|log| log.confirmed.is_some() && matches!(log.ending, Ending::HungUp | Ending::ByPeer));
    assert!(talked.count() >= 4);
}

#[test]
fn phones_of_every_make_get_along_whatever_the_network_does() {
    let rough = Weather { loss: 500, duplicate: 300, reorder: 1_000, delay: (MS, 60 * MS) };
    for seed in 0..60 {
        assert_sound(seed, &talk(seed, true, Weather::fair()));
        assert_sound(seed, &talk(seed, true, rough));
    }
}
