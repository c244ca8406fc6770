#!/bin/sh
# Makes the speech that the tests listen to: 16 kHz, mono, 16 bit. Needs flite (apt install flite).
# flite's voices are built from recordings of people; espeak's are not recognised by anybody.
cd "$(dirname "$0")" || exit 1
flite -voice slt -t "what time is it" -o time.wav
flite -voice awb -t "what is seven plus eight" -o sum.wav
flite -voice rms -t "stop" -o stop.wav
flite -voice slt -t "set a timer for ten minutes" -o timer.wav
flite -voice rms -t "who won the football match last night" -o football.wav
