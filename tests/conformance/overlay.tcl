# What a test client of the suite does differently for us.
#
# It writes down every event, and goes on after every failure. The suite itself ends at the first error that is no failed
# assertion (an unknown command, say), and with it the other tests of the file: here such an error fails the test that it
# occurs in. Outside of tests the commands of a file, and of the blocks that hold tests, run one by one, each on its own.

if {!$::client} return

set ::overlay_events [open $::env(OVERLAY_EVENTS) a]
fconfigure $::overlay_events -encoding utf-8 -translation lf -buffering line
set ::overlay_in_test 0

# One event is a line: its kind, a tab, its text with line breaks escaped.
proc overlay_event {kind text} {
    puts $::overlay_events "$kind\t[string map {\\ \\\\ \n \\n \r \\r} $text]"
}

rename send_data_packet overlay_send_data_packet
proc send_data_packet {fd kind text args} {
    overlay_event $kind $text
    overlay_send_data_packet $fd $kind $text {*}$args
}

# The suite pushes servers and tags while a block runs, and does not pop them when an error leaves it.
proc overlay_unwind {servers tags} {
    foreach server [lrange $::servers [llength $servers] end] {
        catch {[dict get $server client] close}
        if {!$::external} { catch {kill_server [dict replace $server skipleaks 1]} }
    }
    set ::servers [lrange $::servers 0 [expr {[llength $servers] - 1}]]
    set ::tags $tags
}

# Runs the commands of a script one by one, in the frame of the caller's caller.
proc overlay_each {script {level 2}} {
    set command ""
    foreach line [split $script \n] {
        append command $line \n
        if {![info complete $command]} continue
        set servers $::servers
        set tags $::tags
        set code [catch {uplevel $level $command} result]
        if {$code == 1} {
            overlay_event outside "$result\nat: [string range [string trim $command] 0 200]"
            overlay_unwind $servers $tags
        } elseif {$code != 0} {
            return -code $code $result
        }
        set command ""
    }
}

proc overlay_test_body {body} {
    incr ::overlay_in_test
    set servers $::servers
    set tags $::tags
    set code [catch {uplevel 1 $body} result]
    incr ::overlay_in_test -1
    if {$code == 1} {
        overlay_unwind $servers $tags
        # What the test did not come to end would reach into the next one.
        catch {r discard}
        catch {r client unpause}
        # This prefix makes it a failure of the test; the suite cuts it off.
        if {![string match assertion:* $result]} { set result "assertion:$result" }
    }
    return -code $code $result
}

rename test overlay_test
proc test {name body args} {
    uplevel 1 [list overlay_test $name [list overlay_test_body $body] {*}$args]
}

# Commands whose last argument is a block with tests.
foreach block {start_server tags run_solo} {
    rename $block overlay_$block
    proc $block args [string map [list BLOCK overlay_$block] {
        if {!$::overlay_in_test && [llength $args] > 1} {
            lset args end "overlay_each [list [lindex $args end]] 1"
        }
        uplevel 1 [list BLOCK {*}$args]
    }]
}

# Small lists are quicklists in Redis 7.0, and listpacks from 7.2 on, whatever is configured.
rename assert_encoding overlay_assert_encoding
proc assert_encoding {encoding key} {
    if {$encoding eq "quicklist" && [r type $key] eq "list" && [r object encoding $key] eq "listpack"} return
    uplevel 1 [list overlay_assert_encoding $encoding $key]
}

proc execute_test_file unit {
    set ::curfile tests/$unit.tcl
    info script $::curfile
    set file [open $::curfile]
    set script [read $file]
    close $file
    overlay_each $script 1
    send_data_packet $::test_server_fd done $unit
}
