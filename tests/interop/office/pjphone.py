"""One PJSIP phone as a process of its own: pjsua2 allows one endpoint a process.

Started by `phone.PjPhone`. Reads one JSON command a line on stdin, writes one JSON object a line on stdout: the reply to
each command (`{"reply": N, ...}`) and events (`{"event": ...}`) as they happen. Everything runs on one thread; the
process ends when stdin closes.
"""

import ctypes
import json
import os
import select
import sys

import pjsua2 as pj

STATES = {
    pj.PJSIP_INV_STATE_CALLING: "calling",
    pj.PJSIP_INV_STATE_INCOMING: "incoming",
    pj.PJSIP_INV_STATE_EARLY: "early",
    pj.PJSIP_INV_STATE_CONNECTING: "connecting",
    pj.PJSIP_INV_STATE_CONFIRMED: "confirmed",
    pj.PJSIP_INV_STATE_DISCONNECTED: "disconnected",
}
MEDIA = {
    pj.PJSUA_CALL_MEDIA_NONE: "none",
    pj.PJSUA_CALL_MEDIA_ACTIVE: "active",
    pj.PJSUA_CALL_MEDIA_LOCAL_HOLD: "local_hold",
    pj.PJSUA_CALL_MEDIA_REMOTE_HOLD: "remote_hold",
    pj.PJSUA_CALL_MEDIA_ERROR: "error",
}


# The library logs to C's stdout. That becomes stderr, a file, written line by line so that a test can read what was
# received; our own lines keep the pipe.
PIPE = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
LIBC = ctypes.CDLL(None)
LINE_BUFFERED = 1
LIBC.setvbuf(ctypes.c_void_p.in_dll(LIBC, "stdout"), None, LINE_BUFFERED, 0)


def emit(**fields):
    PIPE.write(json.dumps(fields) + "\n")
    PIPE.flush()


class Call(pj.Call):
    """`serial` names it to the test: the library's own numbers are used again."""

    def __init__(self, phone, account, call_id=pj.PJSUA_INVALID_ID):
        super().__init__(account, call_id)
        self.phone = phone
        self.recorder = None
        phone.serial += 1
        self.serial = phone.serial
        phone.calls[self.serial] = self

    def onCallState(self, prm):
        info = self.getInfo()
        state = STATES.get(info.state, str(info.state))
        emit(event="state", call=self.serial, state=state, code=info.lastStatusCode, reason=info.lastReason)
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.recorder = None
            self.phone.calls.pop(self.serial, None)

    def onCallMediaState(self, prm):
        info = self.getInfo()
        for index, media in enumerate(info.media):
            if media.type != pj.PJMEDIA_TYPE_AUDIO:
                continue
            emit(event="media", call=self.serial, media=MEDIA.get(media.status, str(media.status)))
            if media.status in (pj.PJSUA_CALL_MEDIA_ACTIVE, pj.PJSUA_CALL_MEDIA_REMOTE_HOLD):
                audio = self.getAudioMedia(index)
                self.phone.tone.startTransmit(audio)
                if self.recorder is not None:
                    audio.startTransmit(self.recorder)

    def record(self, path):
        """Records what is heard from now on to a WAV file; an earlier recording of the call ends."""
        self.recorder = pj.AudioMediaRecorder()
        self.recorder.createRecorder(path)
        # Kept in a variable: `media` is memory of the info's.
        info = self.getInfo()
        for index, media in enumerate(info.media):
            heard = media.status in (pj.PJSUA_CALL_MEDIA_ACTIVE, pj.PJSUA_CALL_MEDIA_REMOTE_HOLD)
            if media.type == pj.PJMEDIA_TYPE_AUDIO and heard:
                self.getAudioMedia(index).startTransmit(self.recorder)

    def stop_recording(self):
        self.recorder = None

    def onDtmfDigit(self, prm):
        emit(event="dtmf", call=self.serial, digit=prm.digit)

    def onInstantMessage(self, prm):
        emit(event="message", call=self.serial, body=prm.msgBody)


class Account(pj.Account):
    def __init__(self, phone):
        super().__init__()
        self.phone = phone

    def onRegState(self, prm):
        emit(event="registration", code=prm.code, reason=prm.reason, expires=prm.expiration)

    def onIncomingCall(self, prm):
        call = Call(self.phone, self, prm.callId)
        emit(event="incoming", call=call.serial, remote=call.getInfo().remoteUri, message=prm.rdata.wholeMsg)

    def onInstantMessage(self, prm):
        emit(event="message", call=None, remote=prm.fromUri, body=prm.msgBody)


class Phone:
    """The endpoint, its one account and its calls. Commands are the methods named `do_...`."""

    def __init__(self, transport, codecs, rtp_port):
        self.rtp_port = rtp_port
        self.calls = {}
        self.serial = 0
        self.endpoint = pj.Endpoint()
        self.endpoint.libCreate()
        config = pj.EpConfig()
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        config.uaConfig.maxCalls = 8
        config.uaConfig.userAgent = "interop-pjsip"
        config.logConfig.level = 5
        config.logConfig.consoleLevel = 5
        config.medConfig.clockRate = 8000
        config.medConfig.sndClockRate = 8000
        config.medConfig.ecTailLen = 0
        config.medConfig.noVad = True
        self.endpoint.libInit(config)
        bind = pj.TransportConfig()
        bind.boundAddress = "127.0.0.1"
        bind.publicAddress = "127.0.0.1"
        kinds = {"udp": pj.PJSIP_TRANSPORT_UDP, "tcp": pj.PJSIP_TRANSPORT_TCP, "tls": pj.PJSIP_TRANSPORT_TLS}
        kind = kinds[transport]
        self.transport_id = self.endpoint.transportCreate(kind, bind)
        self.transport = transport
        self.endpoint.audDevManager().setNullDev()
        self.endpoint.libStart()
        for codec in self.endpoint.codecEnum2():
            wanted = [i for i, name in enumerate(codecs) if codec.codecId.startswith(name)]
            self.endpoint.codecSetPriority(codec.codecId, 250 - wanted[0] if wanted else 0)
        self.tone = pj.ToneGenerator()
        self.tone.createToneGenerator(8000, 1)
        self.account = Account(self)

    def suffix(self):
        return "" if self.transport == "udp" else f";transport={self.transport}"

    def media_config(self, config):
        config.mediaConfig.transportConfig.boundAddress = "127.0.0.1"
        config.mediaConfig.transportConfig.port = self.rtp_port
        config.mediaConfig.srtpUse = pj.PJMEDIA_SRTP_DISABLED
        config.natConfig.iceEnabled = False
        config.natConfig.sdpNatRewriteUse = 0

    def do_local(self):
        """No registrar: the phone is reached at its own address."""
        config = pj.AccountConfig()
        address = self.endpoint.transportGetInfo(self.transport_id).localName
        config.idUri = f"sip:phone@{address}{self.suffix()}"
        self.media_config(config)
        self.account.create(config)
        return {"address": address}

    def do_register(self, user, password, server, expires=300, domain=None, session_expires=None):
        config = pj.AccountConfig()
        config.idUri = f"sip:{user}@{domain or server}"
        config.regConfig.registrarUri = f"sip:{domain or server}{self.suffix()}"
        config.regConfig.timeoutSec = expires
        config.regConfig.retryIntervalSec = 0
        config.regConfig.firstRetryIntervalSec = 0
        config.sipConfig.transportId = self.transport_id
        config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", user, 0, password))
        config.sipConfig.proxies.append(f"sip:{server};lr{self.suffix()}")
        if session_expires:
            config.callConfig.timerUse = pj.PJSUA_SIP_TIMER_ALWAYS
            config.callConfig.timerSessExpiresSec = session_expires
        self.media_config(config)
        self.account.create(config)
        return {}

    def do_reregister(self):
        self.account.setRegistration(True)
        return {}

    def do_unregister(self):
        self.account.setRegistration(False)
        return {}

    def do_call(self, to, late_offer=False):
        call = Call(self, self.account)
        prm = pj.CallOpParam(True)
        prm.opt.audioCount = 1
        prm.opt.videoCount = 0
        if late_offer:
            prm.opt.flag |= pj.PJSUA_CALL_NO_SDP_OFFER
        try:
            call.makeCall(to + self.suffix(), prm)
        except pj.Error:
            del self.calls[call.serial]
            raise
        return {"call": call.serial}

    def do_answer(self, call, code=200):
        prm = pj.CallOpParam(True)
        prm.statusCode = code
        prm.opt.audioCount = 1
        prm.opt.videoCount = 0
        self.calls[call].answer(prm)
        return {}

    def do_hangup(self, call, code=0):
        prm = pj.CallOpParam(True)
        prm.statusCode = code
        self.calls[call].hangup(prm)
        return {}

    def do_hold(self, call):
        self.calls[call].setHold(pj.CallOpParam(True))
        return {}

    def do_resume(self, call):
        prm = pj.CallOpParam(True)
        prm.opt.flag |= pj.PJSUA_CALL_UNHOLD
        self.calls[call].reinvite(prm)
        return {}

    def do_dtmf(self, call, digits):
        self.calls[call].dialDtmf(digits)
        return {}

    def do_message(self, to, body):
        buddy = pj.Buddy()
        config = pj.BuddyConfig()
        config.uri = to + self.suffix()
        config.subscribe = False
        buddy.create(self.account, config)
        prm = pj.SendInstantMessageParam()
        prm.content = body
        buddy.sendInstantMessage(prm)
        return {}

    def do_tone(self, hz):
        """What the phone says into every call: one steady tone; 0 is silence."""
        self.tone.stop()
        if hz:
            desc = pj.ToneDesc()
            desc.freq1, desc.freq2, desc.on_msec, desc.off_msec = hz, 0, 1000, 0
            self.tone.play(pj.ToneDescVector([desc]), True)
        return {}

    def do_record(self, call, path):
        self.calls[call].record(path)
        return {}

    def do_stop_recording(self, call):
        self.calls[call].stop_recording()
        return {}

    def do_statistics(self, call):
        """RTP packets of the call's first stream, as this phone counts them."""
        # Kept in a variable: `rtcp` is memory of the statistics'.
        statistics = self.calls[call].getStreamStat(0)
        rtcp = statistics.rtcp
        return {"sent": rtcp.txStat.pkt, "received": rtcp.rxStat.pkt, "lost": rtcp.rxStat.loss}

    def obey(self, line):
        command = json.loads(line)
        number, name = command.pop("n"), command.pop("do")
        try:
            emit(reply=number, **getattr(self, "do_" + name)(**command))
        except pj.Error as error:
            emit(reply=number, error=error.info())
        except (KeyError, AttributeError, TypeError) as error:
            emit(reply=number, error=f"{name}: {error!r}")

    def run(self):
        stdin = sys.stdin.fileno()
        pending = b""
        while True:
            # mainThreadOnly: the library's callbacks run inside libHandleEvents, on this thread.
            self.endpoint.libHandleEvents(5)
            if not select.select([stdin], [], [], 0)[0]:
                continue
            data = os.read(stdin, 65536)
            if not data:
                return
            pending += data
            while b"\n" in pending:
                line, pending = pending.split(b"\n", 1)
                self.obey(line)


def main():
    phone = Phone(transport=sys.argv[1], codecs=sys.argv[2].split(","), rtp_port=int(sys.argv[3]))
    emit(event="ready")
    phone.run()
    # No orderly shutdown: hanging up is a command, and what a vanished phone leaves behind is part of the tests.
    os._exit(0)


main()
