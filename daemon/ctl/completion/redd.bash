# bash completion of redd: its options are those of redd --help.
_redd()
{
	local cur prev
	_get_comp_words_by_ref -n := cur prev 2>/dev/null || return
	case $prev in
	--config | --port-file | --admin-key-file | --backup | --restore)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--model | --state | --state-dir)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		return
		;;
	--log-format)
		mapfile -t COMPREPLY < <(compgen -W "text json" -- "$cur")
		return
		;;
	--log-level)
		mapfile -t COMPREPLY < <(compgen -W "debug info warn error" -- "$cur")
		return
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W \
		"$(redd --help 2>/dev/null | sed -n 's/^  \(-[a-zA-Z], \)\{0,1\}\(--[a-z-]*\).*/\2/p')" -- "$cur")
}
complete -F _redd redd
